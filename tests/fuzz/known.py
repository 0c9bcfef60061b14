"""Which targets there are, and what they may raise."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

from services.common.errors import Code, ServiceError
from services.common.rpc.status import to_status
from tests.fuzz import targets

BUGS = frozenset({Code.INTERNAL, Code.UNKNOWN})


class Target(Protocol):
    """A module of ``tests/fuzz/targets``."""

    REFUSALS: tuple[type[Exception], ...]
    """Exceptions that its callers expect."""
    WORDS: tuple[bytes, ...]
    """Pieces of its language, for mutations."""

    def run(self, data: bytes) -> None: ...

    def seeds(self) -> Iterable[bytes]: ...


def names() -> list[str]:
    """Every target."""
    return sorted(each.name for each in pkgutil.iter_modules(targets.__path__))


def target(name: str) -> Target:
    return cast(Target, importlib.import_module(f"{targets.__name__}.{name}"))


def tried(found: Target, data: bytes) -> bool:
    """Whether ``data`` was read to its end; False where it was refused. Raises what nobody expects."""
    try:
        found.run(data)
    except ServiceError as error:
        if error.code in BUGS:
            raise
        to_status(error, "id")  # its words must be ones that can be sent
        return False
    except found.REFUSALS:
        return False
    return True


def root() -> Path:
    return Path(__file__).parents[2]
