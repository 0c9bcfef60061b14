"""What an endpoint answers: one JSON object, or events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Events:
    """Server-sent events, each a JSON object."""

    objects: AsyncIterator[Json]
    named: bool = False
    """Whether each event is named by its ``type``, and no ``[DONE]`` ends them, as in newer endpoints."""


Answer: TypeAlias = Json | Events
