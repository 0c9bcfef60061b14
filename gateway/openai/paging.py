"""Pages of lists: at most ``limit`` things that come ``after`` one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, Field

from gateway.openai.body import Fields
from services.common.errors import invalid

MOST = 1000
USUAL = 20


class Page(Fields):
    """What a query says; of a path, so that numbers come as texts. Other words of it are not looked at."""

    model_config = ConfigDict(extra="ignore", strict=False)

    after: str = ""
    limit: int = Field(USUAL, ge=1, le=MOST)


def page_of(query: Page, things: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The page of ``things``, by their ``id``. Raises INVALID_ARGUMENT where ``after`` is none of them."""
    begin = 0
    if query.after:
        places = [place for place, each in enumerate(things) if each["id"] == query.after]
        if not places:
            raise invalid("after", f"{query.after[:100]!r} is not in the list")
        begin = places[0] + 1
    page = things[begin : begin + query.limit]
    return {
        "object": "list",
        "data": list(page),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": begin + query.limit < len(things),
    }
