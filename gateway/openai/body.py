"""What requests have in common: fields that are checked, refused by name, or let pass."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import ServiceError, invalid, unsupported

B = TypeVar("B", bound="Fields")
TokenId = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1, lt=2**32)]

PASSED = frozenset(
    (
        *("user", "store", "metadata", "service_tier", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "verbosity", "reasoning_effort"),
    )
)
"""Of no meaning here, and sent by many clients: neither used nor refused."""


class Fields(BaseModel):
    """What a request says. Field names are OpenAI's; those of our own stand last in each."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields of OpenAI's that nothing here can do, with the reason."""


class Body(Fields):
    """A request's body that names a model."""

    model: str = Field(min_length=1)


def read(kind: type[B], value: Mapping[str, Any]) -> B:
    """The body in ``value``; null is as good as not given. Raises INVALID_ARGUMENT, UNIMPLEMENTED."""
    passed = PASSED - kind.model_fields.keys()
    given = {name: each for name, each in value.items() if each is not None and name not in passed}
    for name, why in kind.refused.items():
        if given.get(name):
            raise unsupported(f"{name}: {why}")
        given.pop(name, None)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        # Of a union every branch complains: that of the right type says most.
        said = error.errors(include_url=False)
        first = max(said, key=lambda each: (not each["type"].endswith("_type"), len(each["loc"])))
        raise _bad_field(kind, first["loc"], first["type"], first["msg"]) from None


def _bad_field(kind: type[Fields], place: tuple[int | str, ...], what: str, said: str) -> ServiceError:
    names = [each for each in place if not (isinstance(each, str) and _is_branch(each))]
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in names).lstrip(".")
    if what == "missing":
        return invalid(path, "is required")
    if what == "extra_forbidden":
        close = difflib.get_close_matches(str(place[-1]), kind.model_fields, n=1)
        return invalid(path, f"there is no such field{f'; did you mean {close[0]}?' if close else ''}")
    return invalid(path, said[:1].lower() + said[1:])


def _is_branch(step: str) -> bool:
    """Whether a step of a path names a type that was tried, not a field: ``list[int]``."""
    return not step.isidentifier() or step in {"str", "int", "float", "bool"}
