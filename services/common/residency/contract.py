"""What the manager and its users agree on: loaders, states, models in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from services.common.store import ModelVersion

M = TypeVar("M")
Key = tuple[str, str]
"""(name, version)."""


class State(Enum):
    """Where a version stands in this process; the names are ``pequod.model.v1.ModelState``'s."""

    AVAILABLE = "available"
    PULLING = "pulling"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    FAILED = "failed"


class Loader(Protocol[M]):
    """Turns a version's files into something that answers requests. Every method runs in a thread."""

    kinds: frozenset[str]

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """Bytes the loaded model will hold."""

    def load(self, version: ModelVersion, path: Path) -> M:
        """Read the files of ``path``, which have been checked."""

    def warm_up(self, model: M) -> None:
        """Run it once, so that the first request is not the slow one."""

    def close(self, model: M) -> None:
        """Let go of it; nobody uses it any more."""


@dataclass(eq=False)
class Resident(Generic[M]):
    """A model in memory."""

    version: ModelVersion
    model: M
    memory_bytes: int
    leases: int = 0
    last_used: float = 0.0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """What a load came to: the model, and the versions (name:version) that had to leave for it."""

    resident: Resident[M]
    evicted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Standing:
    """What a watcher sees of a version: its state and the progress of the work under way."""

    state: State
    completed: int = 0
    total: int = 0
    message: str = ""
    error: str = ""
    memory_bytes: int = 0
