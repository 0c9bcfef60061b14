"""Settings: one frozen dataclass a process, read once from the environment; a bad value stops the start."""

from __future__ import annotations

import dataclasses
import math
import os
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class SettingsError(ValueError):
    """A setting that cannot be used; the text names the variable, its value and what it may be."""


def setting(
    default: Any,
    *,
    env: str,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field read from the environment variable ``env``; the limits are inclusive."""
    facts = {"env": env, "help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=facts)


def from_environment(cls: type[T], environ: Mapping[str, str] | None = None, service: str = "") -> T:
    """Build ``cls`` from ``environ`` (default: the process's).

    ``{SERVICE}`` in a variable's name stands for ``service`` in capitals, so that one class
    serves them all. Raises SettingsError on a bad value.
    """
    source = os.environ if environ is None else environ
    hints = get_type_hints(cls)
    values = {
        name: _parse(hints[name], source[meta["env"]], meta)
        for name, meta in _described(cls, service)
        if meta["env"] in source
    }
    return cls(**values)


def variables(cls: type[Any], service: str = "") -> dict[str, str]:
    """The environment variables that ``cls`` reads, with the sentence that explains each."""
    return {meta["env"]: meta["help"] for _, meta in _described(cls, service)}


def to_environment(settings: Any, service: str = "") -> dict[str, str]:
    """The variables that ``from_environment`` makes the same settings from, for a child process."""
    return {
        meta["env"]: _written(getattr(settings, name)) for name, meta in _described(type(settings), service)
    }


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _described(cls: type[Any], service: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in dataclasses.fields(cls):
        if "env" in field.metadata:
            name = field.metadata["env"].format(SERVICE=service.upper())
            yield field.name, {**field.metadata, "env": name}


def _parse(hint: Any, raw: str, meta: Mapping[str, Any]) -> Any:
    try:
        value = _convert(hint, raw.strip())
    except ValueError as error:
        raise SettingsError(f"{meta['env']}={raw!r} is not usable: {error}. {meta['help']}") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(value, raw, meta)
    if meta["choices"] and value not in meta["choices"]:
        known = ", ".join(meta["choices"])
        raise SettingsError(f"{meta['env']}={raw!r} is not usable: it must be one of {known}. {meta['help']}")
    return value


def _convert(hint: Any, raw: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        return None if raw == "" else _convert(inner, raw)
    if origin is tuple:
        return tuple(_convert(get_args(hint)[0], part.strip()) for part in raw.split(",") if part.strip())
    if hint is bool:
        return _bool(raw)
    if hint is Path:
        return Path(raw).expanduser()
    if hint is float and not math.isfinite(float(raw)):
        raise ValueError("it must be a finite number")
    return hint(raw)


def _bool(raw: str) -> bool:
    if raw.lower() in _TRUE | _FALSE:
        return raw.lower() in _TRUE
    raise ValueError("it must be 1 or 0")


def _check_range(value: float, raw: str, meta: Mapping[str, Any]) -> None:
    low, high = meta["minimum"], meta["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise SettingsError(
            f"{meta['env']}={raw!r} is not usable: it must be {_range(low, high)}. {meta['help']}"
        )


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"in {low}..{high}"
    return f"at least {low}" if high is None else f"at most {high}"
