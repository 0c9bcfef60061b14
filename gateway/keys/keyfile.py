"""The key file: read whole or refused whole, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.keys.key import Key, first_fault

MOST_LIVING = 2
"""Keys of one name that may live at once: the old one and the one that replaces it."""


class KeyFileError(ValueError):
    """The file cannot be used; the text says where and why."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    keys: tuple[Key, ...] = ()


def read_keys(path: Path) -> tuple[Key, ...]:
    """Every key in the file. Raises KeyFileError; OSError where it cannot be read."""
    try:
        keys = _File.model_validate_json(path.read_bytes()).keys
    except ValidationError as error:
        raise KeyFileError(f"{path}: {first_fault(error)}") from None
    check(keys, str(path))
    return keys


def check(keys: Sequence[Key], where: str) -> None:
    """Raises KeyFileError for ids or living names that occur too often."""
    ids = Counter(key.id for key in keys)
    if twice := [each for each, count in ids.items() if count > 1]:
        raise KeyFileError(f"{where}: key {twice[0]} is there twice")
    now = datetime.now(UTC)
    living = Counter((key.tenant, key.name) for key in keys if key.lives(now))
    for (tenant, name), count in living.items():
        if count > MOST_LIVING:
            raise KeyFileError(
                f"{where}: {count} keys named {name!r} of tenant {tenant!r} live; at most {MOST_LIVING} may"
            )


def read_secret(path: Path) -> bytes:
    """The secret under which keys are hashed. Raises KeyFileError for one that is too short."""
    secret = path.read_bytes().strip()
    if len(secret) < 32:
        raise KeyFileError(f"{path}: the key secret has {len(secret)} bytes; it needs at least 32")
    return secret


def make_secret(path: Path) -> bytes:
    """The secret that is there, or a new one that only this user can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_secret(path)
    secret = secrets.token_hex(32).encode()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    return secret


@contextmanager
def editing(path: Path) -> Iterator[list[Key]]:
    """The keys to change while the block runs; written when it ends well. Others who edit wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = list(read_keys(path)) if path.exists() else []
        yield keys
        check(keys, "not written")
        _write(path, _File(keys=tuple(keys)).model_dump_json(indent=2, exclude_defaults=True))


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
