"""A picture at rising levels of noise, and one step back from each."""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.common.errors import invalid
from services.diffusion.engine import Model, Prompts, Reading
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox, torch_noise
from services.diffusion.painting.painting import Painting
from services.diffusion.pictures.reading import resized
from services.diffusion.request import LadderRequest
from services.diffusion.schedulers.levels import Array, Levels, Prediction
from services.diffusion.schedulers.walk import Call, Walk, clean_of, noise_of
from services.diffusion.serving.job import Start


@dataclass(frozen=True, eq=False)
class Rung:
    """One level; level 0 is the clean picture, level k + 1 what the model was trained on as k."""

    level: int
    signal: float
    noise: float
    noisy: Array


@dataclass(frozen=True, eq=False)
class Ladder:
    """The levels of a picture, and images that go one step back from each but the first."""

    rungs: Rows[Rung]
    starts: Rows[Start]
    levels: int
    rows: int


def plan_ladder(request: LadderRequest, model: Model) -> Ladder:
    """What a request means for a model; runs its encoders. INVALID_ARGUMENT for a level there is not."""
    traits = model.traits
    picture = resized(request.picture, traits.width, traits.height)
    clean = model.encode(picture, request.seed)
    noise = (torch_noise if request.is_torch else philox)(request.seed, clean.shape)(START)
    levels = model.levels.sized(traits.tokens(traits.width, traits.height))
    count = levels.count + 1
    chosen = request.levels or tuple(np.linspace(0, levels.count, request.rungs).round().astype(int).tolist())
    if max(chosen) >= count:
        raise invalid("levels", f"must be in 0..{levels.count} for this model, got {max(chosen)}")
    rungs = [_rung(levels, level, clean, noise) for level in chosen]
    reading = model.read(Prompts(request.prompt), traits.width, traits.height, request.guidance)
    guidance = Guidance(request.guidance if traits.negative else 1.0)
    starts = [
        partial(_begin, levels, upper, lower, reading, guidance)
        for lower, upper in zip([_rung(levels, 0, clean, noise), *rungs], rungs, strict=False)
        if upper.level
    ]
    return Ladder(rungs, starts, count, 1 if guidance.scale == 1.0 else 2)


def _rung(levels: Levels, level: int, clean: Array, noise: Array) -> Rung:
    signal, share = _shares(levels, level)
    return Rung(level, signal, share, (signal * clean + share * noise).astype(np.float32))


def _shares(levels: Levels, level: int) -> tuple[float, float]:
    """(signal, noise share) of a level."""
    if levels.prediction is Prediction.FLOW:
        share = level / levels.count
        return 1.0 - share, share
    if level == 0:
        return 1.0, 0.0
    square = float(levels.signal_squares[level - 1])
    return square**0.5, (1.0 - square) ** 0.5


def _begin(
    levels: Levels,
    upper: Rung,
    lower: Rung,
    reading: Reading,
    guidance: Guidance,
    places: tuple[tuple[int, float], ...],
) -> Painting:
    return Painting(_down(levels, upper, lower), levels, 1, reading.told, reading.untold, guidance, places)


def _down(levels: Levels, upper: Rung, lower: Rung) -> Walk:
    """One question; gives [2 * channels, height, width]: the clean picture seen, then the lower level's."""
    timestep = upper.level if levels.prediction is Prediction.FLOW else upper.level - 1
    call = Call(upper.noisy, float(timestep), upper.signal, upper.noise, 0)
    clean = clean_of(levels, call, (yield call))
    back = lower.signal * clean + lower.noise * noise_of(call, clean)
    return np.concatenate((clean, back)).astype(np.float32)
