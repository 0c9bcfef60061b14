"""Options of recipes that train: a flag for each field, and which of them a checkpoint is bound to."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_PASSING = frozenset({"threads", "device"})


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
    for name, default in asdict(defaults).items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help="(%(default)s)")


def read_flags(kind: type[T], chosen: argparse.Namespace) -> T:
    """What was chosen of the options that ``add_flags`` added."""
    return kind(**{field.name: getattr(chosen, field.name) for field in fields(kind)})


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
