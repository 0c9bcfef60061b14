"""What an import reads from: the contract, and which URIs may be read at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from services.common.errors import Code, Reason, ServiceError, invalid

SCHEMES = ("file", "s3", "gs", "https")
MOST_URI = 2048

Got = Callable[[int], None]
"""Told how many bytes of a file have come; what it raises ends the import."""


class SourceFailed(Exception):
    """The import cannot go on; the text says why, for the caller."""


@dataclass(frozen=True)
class SourceFile:
    """A file to fetch. ``path`` is the one it gets in the data set; ``size_bytes`` -1: not known before."""

    path: str
    size_bytes: int
    place: str
    """Where the source has it."""


class Source(Protocol):
    """Blocking. Both raise SourceFailed."""

    def list(self) -> Sequence[SourceFile]:
        """Every file there is to fetch."""
        ...

    def fetch(self, file: SourceFile, target: Path, got: Got) -> None:
        """Write the bytes of ``file`` to ``target``, no more than ``got`` lets pass."""
        ...


@dataclass(frozen=True)
class Allowed:
    """What callers may name: ``file_roots`` for file://, URL prefixes for the rest."""

    file_roots: Sequence[Path]
    prefixes: Sequence[str]

    def check(self, uri: str) -> SplitResult:
        """``uri``, split. Raises INVALID_ARGUMENT naming the field; reason UNSAFE_PATH: not allowed."""
        if len(uri) > MOST_URI:
            raise invalid("uri", f"has {len(uri)} characters, at most {MOST_URI}")
        if not uri.isprintable():  # Python's reading of URIs drops such characters without a word
            raise unsafe(f"{uri[:100]!r} holds a character that cannot be printed")
        try:
            parts = urlsplit(uri)
            plain = parts.port is None or parts.port > 0
        except ValueError as error:
            raise invalid("uri", f"is no URI: {error}") from None
        if parts.scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise invalid("uri", f"{uri[:100]!r} begins with none of {known}")
        if not plain or "@" in parts.netloc or parts.fragment:
            raise invalid("uri", "may hold no user, password or fragment")
        if ".." in unquote(parts.path).split("/") or "\0" in unquote(uri):
            raise unsafe(f"{uri[:100]!r} may not hold '..'")
        if parts.scheme != "file" and not any(_within(parts, prefix) for prefix in self.prefixes):
            allowed = ", ".join(self.prefixes) or "none"
            raise unsafe(f"{uri[:100]!r} is outside what may be imported ({allowed}); set PEQUOD_IMPORT_FROM")
        return parts


def unsafe(message: str) -> ServiceError:
    """INVALID_ARGUMENT for the field "uri", reason UNSAFE_PATH."""
    refusal = invalid("uri", message)
    return ServiceError(
        Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH, refusal.message, violations=refusal.violations
    )


def _within(parts: SplitResult, prefix: str) -> bool:
    """Whether a URI lies below ``prefix``: the same scheme, the same host if it names one, below its path."""
    allowed = urlsplit(prefix)
    if parts.scheme != allowed.scheme or (allowed.netloc and parts.netloc.lower() != allowed.netloc.lower()):
        return False
    path = allowed.path.rstrip("/")
    return parts.path == path or parts.path.startswith(f"{path}/") or not path
