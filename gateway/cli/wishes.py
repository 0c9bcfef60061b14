"""What the options of ``pequod face`` ask for, as the service reads it."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import typer
from google.protobuf import json_format

from pequod.gan import v1

_SEED_BITS = 32
"""Of drawn seeds: short to write down."""


class Space(enum.StrEnum):
    """Spaces that a walk goes through."""

    W = "w"
    Z = "z"


@dataclass(frozen=True)
class Wish:
    """What all the command's ways have in common."""

    model: str
    out: Path | None
    seed: int | None
    n: int
    options: v1.SynthesisOptions
    code: v1.LatentCode | None
    save_code: Path | None
    as_json: bool

    def origin(self) -> tuple[v1.Origin, str]:
        """Where the face comes from, and what it is called; a seed that nobody gave is drawn."""
        if self.code is not None:
            return v1.Origin(code=self.code), "code"
        seed = self.first_seed()
        return v1.Origin(seed=seed), str(seed)

    def first_seed(self) -> int:
        """The seed given, or a drawn one."""
        return secrets.randbits(_SEED_BITS) if self.seed is None else self.seed


def options(
    attributes: Iterable[str],
    psi: float | None,
    cutoff: int,
    noise_seed: int | None,
    noise: float | None,
    factor: int,
) -> v1.SynthesisOptions:
    """Of the command's options. Raises BadParameter for attributes that are no NAME=VALUE."""
    return v1.SynthesisOptions(
        truncation_psi=psi,
        truncation_cutoff=cutoff,
        attributes=dict(pair(each, "NAME=VALUE, for example glasses=round") for each in attributes),
        noise_seed=noise_seed,
        noise_strength=noise,
        upscale_factor=factor,
    )


def choose(asked: Mapping[str, bool]) -> str:
    """The one way that was asked for, empty for none. Raises BadParameter for several."""
    chosen = [name for name, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise typer.BadParameter(f"{' and '.join(chosen)} do not go together")
    return chosen[0] if chosen else ""


def read_code(file: Path) -> v1.LatentCode:
    """A code that ``--save-code`` wrote. Raises BadParameter."""
    try:
        return json_format.Parse(file.read_text(encoding="utf-8"), v1.LatentCode())
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    except (json_format.ParseError, UnicodeDecodeError):
        raise typer.BadParameter(f"{file} holds no latent code as --save-code writes it") from None


def donor(given: str) -> v1.StyleDonor:
    """``SEED=LAYERS``: layers are numbers and ranges, 0-2,5."""
    usage = "SEED=LAYERS, for example 7=0-2 or 7=0,3"
    seed, layers = pair(given, usage)
    try:
        ends = [tuple(map(int, each.split("-"))) for each in layers.split(",")]
        taken = [layer for each in ends for layer in range(each[0], each[-1] + 1)]
        read = v1.StyleDonor(origin=v1.Origin(seed=int(seed)), layers=taken)
    except ValueError:
        read = v1.StyleDonor()
    if not read.layers:
        raise typer.BadParameter(f"{given!r} is no {usage}")
    return read


def edit(given: str) -> v1.AttributeEdit:
    """``NAME=AMOUNT``; a name may have colons."""
    usage = "NAME=AMOUNT, for example smiling=2"
    name, amount = pair(given, usage)
    try:
        return v1.AttributeEdit(direction=name, amount=float(amount))
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no {usage}") from None


def pair(given: str, usage: str) -> tuple[str, str]:
    """Around the last equals sign. Raises BadParameter that says ``usage``."""
    name, _, value = given.rpartition("=")
    if not name or not value:
        raise typer.BadParameter(f"{given!r} is no {usage}")
    return name, value
