"""Who makes a call: a tenant, the key or token it showed, and what that allows."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from services.common.tenants import LOCAL


class Group(enum.StrEnum):
    """What a key may be allowed to call; methods belong to groups (see ``gateway.groups``)."""

    TEXT = "text"
    EMBEDDINGS = "embeddings"
    IMAGES = "images"
    FACES = "faces"
    FINETUNE = "finetune"
    OPERATE = "operate"
    """Loading, unloading, exporting and renaming models."""


class Priority(enum.StrEnum):
    """Whose calls leave a queue first. Lower classes are slowed, never starved."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True)
class Limits:
    """What a principal may use; None: as much as it likes. Rates refill evenly over their minute or day."""

    requests_per_minute: float | None = None
    concurrent: int | None = None
    tokens_per_minute: float | None = None
    """Tokens read and written, by text and embedding models."""
    megapixel_steps_per_minute: float | None = None
    """Pixels times steps times pictures, in millions; a GAN's picture counts as one step."""
    training_minutes_per_day: float | None = None


@dataclass(frozen=True)
class Principal:
    """Who calls."""

    tenant: str = LOCAL
    name: str = ""
    """The key's name; keys of one name share limits and usage. Empty: no key is asked for."""
    key_id: str = ""
    groups: frozenset[Group] = frozenset(Group)
    models: tuple[str, ...] = ("*",)
    """Names of models, ``*`` stands for any letters."""
    priority: Priority = Priority.NORMAL
    limits: Limits = field(default_factory=Limits)

    @property
    def account(self) -> tuple[str, str]:
        """What limits and usage are kept by."""
        return self.tenant, self.name

    @property
    def any_model(self) -> bool:
        """Whether it may use every model."""
        return "*" in self.models

    def may_use(self, model: str) -> bool:
        """``model``: a name without version and alias."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)


EVERYBODY = Principal()
"""Who calls a platform that asks for no keys."""
