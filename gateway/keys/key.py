"""A key: 256 random bits that are shown once, and what is kept of them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from gateway.principal import Group, Limits, Principal, Priority
from services.common.tenants import LOCAL

PREFIX = "pq"
_ID_BYTES, _SECRET_BYTES = 6, 32
_TEXT = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_([A-Za-z0-9_-]{{43}})")

NAME = r"^[a-z0-9][a-z0-9-]{0,39}$"
"""Of a tenant or a key; it becomes part of paths."""
Name = Annotated[str, Field(pattern=NAME)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class KeyLimits(_Strict):
    """See ``gateway.principal.Limits``."""

    requests_per_minute: PositiveFloat | None = None
    concurrent: PositiveInt | None = None
    tokens_per_minute: PositiveFloat | None = None
    megapixel_steps_per_minute: PositiveFloat | None = None
    training_minutes_per_day: PositiveFloat | None = None


_BIND = {
    "tokens_per_minute": frozenset({Group.TEXT, Group.EMBEDDINGS}),
    "megapixel_steps_per_minute": frozenset({Group.IMAGES, Group.FACES}),
    "training_minutes_per_day": frozenset({Group.FINETUNE}),
}
"""Limits of work, and the groups whose calls do such work."""


class Key(_Strict):
    """What the key file holds of a key. The secret itself is in no file."""

    id: str = Field(pattern=rf"^[0-9a-f]{{{2 * _ID_BYTES}}}$")
    name: Name
    tenant: Name = LOCAL
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """HMAC-SHA256 of the key's text under the platform's key secret, in hex."""
    groups: tuple[Group, ...] = tuple(Group)
    models: tuple[str, ...] = ("*",)
    priority: Priority = Priority.NORMAL
    limits: KeyLimits = KeyLimits()
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    @model_validator(mode="after")
    def _limits_bind(self) -> Self:
        """A limit that can never bind is a mistake that nobody would see."""
        for limit, groups in _BIND.items():
            if getattr(self.limits, limit) is not None and not groups.intersection(self.groups):
                needed = " or ".join(sorted(groups))
                raise ValueError(f"limits.{limit} binds nothing: the key may not call {needed}")
        return self

    def principal(self) -> Principal:
        """Who shows it."""
        return Principal(
            tenant=self.tenant,
            name=self.name,
            key_id=self.id,
            groups=frozenset(self.groups),
            models=self.models,
            priority=self.priority,
            limits=Limits(**self.limits.model_dump()),
        )

    def lives(self, now: datetime) -> bool:
        """Whether it opens anything at ``now``."""
        return self.revoked is None and (self.expires is None or now < self.expires)


@dataclass(frozen=True)
class Shown:
    """A new key, as its holder gets it: once."""

    id: str
    text: str


def new_key() -> Shown:
    """Random, from the operating system."""
    key_id = secrets.token_hex(_ID_BYTES)
    return Shown(key_id, f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def id_in(text: str) -> str | None:
    """The id in a key's text; None where it is not of a key's form."""
    match = _TEXT.fullmatch(text)
    return match[1] if match else None


def digest_of(text: str, secret: bytes) -> str:
    """What is kept of a key."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def first_fault(error: ValidationError) -> str:
    """The first thing wrong with a key or a file of them: where it is, and what."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    what = first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
