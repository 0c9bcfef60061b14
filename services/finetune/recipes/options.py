"""Options of recipes that train: what each may be, a flag for it, and which of them a checkpoint is bound to.

A field made by ``within``, ``among`` or ``words`` is a parameter: jobs may set it, and no value is outside of
what it may be. The others are the runner's: seeds, threads, paths on this machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_PASSING = frozenset({"threads", "device"})
_KEY = "parameter"
MOST_STEPS = 100_000_000


@dataclass(frozen=True)
class Parameter:
    """What a field of options may be."""

    name: str
    default: Any
    low: float | None = None
    high: float | None = None
    """The least and the most, of a number."""
    choices: tuple[str, ...] = ()
    longest: int = 0
    """Characters, of a text that may be any."""

    @property
    def limits(self) -> str:
        """For people: "1..16"."""
        if isinstance(self.default, bool):
            return "true or false"
        if self.choices:
            return ", ".join(each or '""' for each in self.choices)
        if self.longest:
            return f"up to {self.longest} characters"
        return f"{self.low:g}..{self.high:g}"

    def read(self, value: Any) -> Any:
        """``value``, from JSON or a flag, as the field wants it. Raises ValueError saying what it may be."""
        read = self._converted(value)
        if read is None:
            raise ValueError(f"must be {self.limits}, got {repr(value)[:80]}")
        return read

    def _converted(self, value: Any) -> Any:
        """None: it cannot be."""
        if isinstance(self.default, bool):
            return value if isinstance(value, bool) else None
        if isinstance(self.default, str):
            is_fit = isinstance(value, str) and (value in self.choices or len(value) <= self.longest)
            return value if is_fit else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if isinstance(self.default, int) and value != int(value):
            return None
        assert self.low is not None
        assert self.high is not None
        return type(self.default)(value) if self.low <= value <= self.high else None


def within(default: float, low: float, high: float) -> Any:
    """A field: a number from ``low`` to ``high``, both included; whole where ``default`` is."""
    return dataclasses.field(default=default, metadata={_KEY: {"low": low, "high": high}})


def among(default: str, *choices: str) -> Any:
    """A field: one of a few words."""
    return dataclasses.field(default=default, metadata={_KEY: {"choices": choices}})


def words(default: str, longest: int) -> Any:
    """A field: any text of at most ``longest`` characters."""
    return dataclasses.field(default=default, metadata={_KEY: {"longest": longest}})


def switch(default: bool) -> Any:
    """A field: true or false."""
    return dataclasses.field(default=default, metadata={_KEY: {}})


def parameters_of(options: DataclassInstance | type[DataclassInstance]) -> dict[str, Parameter]:
    """What can be set of options, by name."""
    return {
        field.name: Parameter(field.name, field.default, **field.metadata[_KEY])
        for field in fields(options)
        if _KEY in field.metadata
    }


@dataclass(frozen=True)
class Run:
    """What recipes of pictures have in common."""

    seed: int = 1
    threads: int = 1
    """Of the CPU."""
    device: str = "auto"
    """``auto`` takes a GPU if there is one."""


def add_flags(parser: argparse.ArgumentParser, defaults: DataclassInstance) -> None:
    """One option for each field; ``read_flags`` reads them."""
    known = parameters_of(defaults)
    for name, default in asdict(defaults).items():
        flag = f"--{name.replace('_', '-')}"
        limits = f"{known[name].limits.replace('%', '%%')} " if name in known else ""
        if isinstance(default, bool):
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=default, help="(%(default)s)"
            )
        else:
            parser.add_argument(flag, type=type(default), default=default, help=f"{limits}(%(default)s)")


def read_flags(kind: type[T], chosen: argparse.Namespace) -> T:
    """What was chosen of the options that ``add_flags`` added. Ends the program for a value out of range."""
    known = parameters_of(kind)
    values = {field.name: getattr(chosen, field.name) for field in fields(kind)}
    for name, parameter in known.items():
        try:
            values[name] = parameter.read(values[name])
        except ValueError as error:
            raise SystemExit(f"--{name.replace('_', '-')} {error}") from None
    return kind(**values)


def lasting(options: DataclassInstance, passing: Collection[str] = _PASSING) -> dict[str, Any]:
    """The options that a checkpoint cannot change under: all but those ``passing``."""
    return {name: value for name, value in asdict(options).items() if name not in passing}


def preset(arguments: Sequence[str] | None, presets: Mapping[str, T], default: T) -> T:
    """What the other options begin from: the preset that ``--preset`` names, if it does."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_preset(first, presets)
    chosen, _ = first.parse_known_args(arguments)
    return presets[chosen.preset] if chosen.preset else default


def add_preset(parser: argparse.ArgumentParser, presets: Mapping[str, Any]) -> None:
    """The option that ``preset`` reads."""
    parser.add_argument("--preset", choices=sorted(presets), help="other defaults for all that follow")
