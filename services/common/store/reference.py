"""Model references: ``name``, ``name@alias``, ``name:version``, ``hf:repo[@revision]``, ``file:path``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.common.errors import Code, Reason, ServiceError, invalid

DEFAULT_ALIAS = "production"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_VERSION = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,63}")
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_MOST_PATH = 4096


@dataclass(frozen=True)
class Reference:
    """A parsed reference; exactly one of ``name``, ``repo`` and ``path`` is set."""

    name: str = ""
    alias: str = ""
    version: str = ""
    repo: str = ""
    revision: str = ""
    path: str = ""


def parse_reference(text: str, field: str = "model") -> Reference:
    """Parse a reference from a request's ``field``. Raises INVALID_ARGUMENT naming it."""
    if text.startswith("hf:"):
        repo, at, revision = text[3:].partition("@")
        return Reference(
            repo=_match(_REPO, repo, text, field), revision=at and _match(_REVISION, revision, text, field)
        )
    if text.startswith("file:"):
        return Reference(path=_safe_path(text, field))
    name, at, alias = text.partition("@")
    if at:
        return Reference(name=check_name(name, field), alias=check_alias(alias, field))
    name, colon, version = text.partition(":")
    if colon:
        return Reference(name=check_name(name, field), version=check_version(version, field))
    return Reference(name=check_name(name, field))


def check_name(name: str, field: str = "model") -> str:
    """``name`` when it may name a model. Raises INVALID_ARGUMENT."""
    if not is_name(name):
        raise _unsafe(name, field) if ".." in name or "/" in name else invalid(field, _name_rule(name))
    return name


def check_version(version: str, field: str = "model") -> str:
    """``version`` when it may name a version. Raises INVALID_ARGUMENT."""
    if not is_version(version):
        if ".." in version or "/" in version:
            raise _unsafe(version, field)
        raise invalid(field, f"version {version[:80]!r} must be 1..64 letters, digits, '.', '_' or '-'")
    return version


def check_path(path: str) -> str:
    """``path`` when it stays inside its folder. Raises INVALID_ARGUMENT, reason UNSAFE_PATH."""
    pure = PurePosixPath(path)
    plain = str(pure) == path and path != "."
    if not plain or pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path:
        raise ServiceError(
            Code.INVALID_ARGUMENT,
            Reason.UNSAFE_PATH,
            f"file path {path!r} must stay inside the model's folder",
        )
    return path


def is_name(text: str) -> bool:
    """Whether ``text`` may name a model."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def is_version(text: str) -> bool:
    """Whether ``text`` may name a version."""
    return _VERSION.fullmatch(text) is not None and ".." not in text


def check_alias(alias: str, field: str = "model") -> str:
    """``alias`` when it may be one. Raises INVALID_ARGUMENT."""
    if not _ALIAS.fullmatch(alias):
        raise invalid(
            field, f"alias {alias[:80]!r} must be 1..64 of a-z, 0-9 and '-', beginning with a letter"
        )
    return alias


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts "2" before "10" and "1.9" before "1.10"."""
    parts = re.findall(r"[0-9]+|[^0-9]+", version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def _name_rule(name: str) -> str:
    return (
        f"name {name[:80]!r} must be 1..128 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
    )


def _match(pattern: re.Pattern[str], part: str, text: str, field: str) -> str:
    if ".." in part:
        raise _unsafe(text, field)
    if not pattern.fullmatch(part):
        raise invalid(field, f"{text[:80]!r} is no reference of the form hf:owner/name[@revision]")
    return part


def _safe_path(text: str, field: str) -> str:
    path = text.removeprefix("file:")
    if ".." in path.split("/") or "\0" in path:
        raise _unsafe(text, field)
    if not path:
        raise invalid(field, "'file:' names no path")
    if len(path) > _MOST_PATH:
        raise invalid(field, f"its path has {len(path):,} characters, at most {_MOST_PATH}")
    return path


def _unsafe(text: str, field: str) -> ServiceError:
    error = invalid(field, f"{text[:80]!r} may not leave the store: '..' and '/' are refused")
    return ServiceError(Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH, error.message, violations=error.violations)
