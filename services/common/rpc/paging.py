"""Pages of lists of model versions; a page begins after the last version of the page before."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from services.common.errors import invalid
from services.common.store import ModelVersion
from services.common.store.reference import version_order

PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


def page_of(
    versions: Sequence[ModelVersion], page_size: int, page_token: str
) -> tuple[Sequence[ModelVersion], str]:
    """A page of ``versions``, which are by name and version, and the token of the next one; "" on the last.

    Raises INVALID_ARGUMENT naming page_size or page_token.
    """
    if page_size > MAX_PAGE_SIZE:
        raise invalid("page_size", f"must be in 0..{MAX_PAGE_SIZE}, got {page_size}")
    start = _after(versions, page_token)
    page = versions[start : start + (page_size or PAGE_SIZE)]
    more = start + len(page) < len(versions)
    return page, _token(page[-1]) if more else ""


def _token(version: ModelVersion) -> str:
    return base64.urlsafe_b64encode(f"{version.name}\n{version.version}".encode()).decode()


def _after(versions: Sequence[ModelVersion], token: str) -> int:
    """Where the page after ``token`` begins; a model deleted in between moves nothing."""
    if not token:
        return 0
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
        name, number = text.split("\n")
    except (binascii.Error, ValueError):
        raise invalid("page_token", "is not one that this service gave") from None
    last = (name, version_order(number))
    return sum((version.name, version_order(version.version)) <= last for version in versions)
