"""The model of a base, ready to learn a subject."""

from __future__ import annotations

from services.finetune.recipes.base import Base
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.personal.models.pixels import Pixels
from services.finetune.recipes.personal.models.tunable import Tunable

FAMILIES = ("unet", "diffusers")


def open_tunable(base: Base, options: Options) -> Tunable:
    """Raises ValueError for a base of another family, and for options that do not go with it."""
    if base.family == "unet":
        return Pixels(base, options)
    if base.family == "diffusers":
        from services.finetune.recipes.personal.models.latents import Latents  # diffusers takes seconds

        return Latents(base, options)
    raise ValueError(f"{base.reference} is of family {base.family!r}, one of {', '.join(FAMILIES)} is needed")
