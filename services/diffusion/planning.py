"""From a sound request to images that can be begun, for one model; refuses what the model cannot do."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.common.errors import invalid, unsupported
from services.diffusion.engine import Model, Pixels, Prompts, Reading, Scaled, Traits
from services.diffusion.painting.editing import begin_from, keeping, late_steps
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox, torch_noise
from services.diffusion.painting.painting import Painting
from services.diffusion.pictures.reading import resized, resized_mask
from services.diffusion.request import Editing, Request, Steering
from services.diffusion.schedulers.ddim import ddim
from services.diffusion.schedulers.levels import Array, Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from services.diffusion.schedulers.walk import Noise, Path
from services.diffusion.serving.job import Start

_SEEDS = 2**64
_TWO_CALLS = {"heun"}
"""Schedulers that ask the network twice a step, but for the last."""


@dataclass(frozen=True, eq=False)
class Kept:
    """What of the picture that was sent stays as it is."""

    picture: Pixels
    mask: Array
    """[1, height, width]: 0 where it stays."""

    def put_back(self, painted: Pixels) -> Pixels:
        """The painted picture with what stays."""
        return np.where((self.mask[0] > 0)[..., None], painted, self.picture)


@dataclass(frozen=True, eq=False)
class Plan:
    """Images of one model, ready to be begun."""

    starts: Rows[Start]
    reading: Reading
    kept: Kept | None
    scheduler: str
    steps: int
    """That are taken."""
    asked_steps: int
    calls: int
    rows: int
    guidance: float
    width: int
    height: int
    shape: tuple[int, ...]


def plan(request: Request, model: Model, adapters: Rows[Scaled]) -> Plan:
    """What a request means for a model; runs its encoders, so not for the event loop.

    Raises INVALID_ARGUMENT naming the field, or FAILED_PRECONDITION.
    """
    traits = model.traits
    width, height = _size(request, traits)
    scheduler = _scheduler(request, traits)
    _check_adapters(model, adapters)
    scale = traits.guidance if request.steering.scale is None else request.steering.scale
    reading = model.read(_prompts(request.prompts, traits), width, height, scale, adapters)
    if request.refuse_overflow:
        _refuse_cut(reading)
    levels = model.levels.sized(traits.tokens(width, height))
    asked = request.steps or traits.steps
    path = _path(scheduler, levels, asked)
    if request.editing is not None:
        path = late_steps(path, request.editing.strength)
    guidance = _guidance(request.steering, scale, traits)
    shape = (traits.channels, height // traits.factor, width // traits.factor)
    sketch = _sketch(request.editing, model, width, height, request.seed)
    course = _Course(request, traits, scheduler, levels, path, shape, reading, guidance, sketch)
    return Plan(
        starts=[partial(course.begin, (request.seed + index) % _SEEDS) for index in range(request.best_of)],
        reading=reading,
        kept=None if sketch is None else sketch.kept,
        scheduler=scheduler,
        steps=path.steps,
        asked_steps=asked,
        calls=2 * path.steps - 1 if scheduler in _TWO_CALLS else path.steps,
        rows=1 if guidance.scale == 1.0 else 2,
        guidance=scale,
        width=width,
        height=height,
        shape=shape,
    )


@dataclass(frozen=True, eq=False)
class _Course:
    """What all images of a request have in common."""

    request: Request
    traits: Traits
    scheduler: str
    levels: Levels
    path: Path
    shape: tuple[int, ...]
    reading: Reading
    guidance: Guidance
    sketch: _Sketch | None

    def begin(self, seed: int, places: tuple[tuple[int, float], ...]) -> Painting:
        """One image, from its noise on."""
        request, levels, path, reading = self.request, self.levels, self.path, self.reading
        noise = torch_noise(seed, self.shape) if request.is_torch else philox(seed, self.shape)
        walk = SCHEDULERS[self.scheduler].walk
        if request.eta:
            walk = partial(ddim, eta=request.eta)
        if self.sketch is None:
            begun = walk(levels, path, np.float32(path.start) * noise(START), noise)
        else:
            picture = self._encoded(self.sketch, noise, seed)
            is_flow = self.scheduler == "flow_euler"
            begun = walk(levels, path, begin_from(picture, path, noise(START), is_flow), noise)
            if self.sketch.mask is not None:
                begun = keeping(begun, levels, picture, self.sketch.mask)
        return Painting(begun, levels, path.steps, reading.told, reading.untold, self.guidance, places)

    def _encoded(self, sketch: _Sketch, noise: Noise, seed: int) -> Array:
        """The picture as the network sees it. In diffusers an encoder draws before the noise is drawn."""
        if self.request.is_torch and self.traits.factor > 1:
            noise(START)
        return sketch.encode(seed)


@dataclass(frozen=True, eq=False)
class _Sketch:
    """A picture to begin from, as the network sees it."""

    encode: Callable[[int], Array]
    """By the image's seed: some encoders draw."""
    mask: Array | None
    """[1, height, width] of the network's places."""
    kept: Kept | None


def _size(request: Request, traits: Traits) -> tuple[int, int]:
    sizes = {"width": request.width or traits.width, "height": request.height or traits.height}
    for field, value in sizes.items():
        if value % traits.multiple or not traits.multiple <= value <= traits.largest:
            allowed = (
                f"{traits.largest}"
                if traits.multiple == traits.largest
                else f"a multiple of {traits.multiple} up to {traits.largest}"
            )
            raise invalid(field, f"must be {allowed} for this model, got {value}")
    return sizes["width"], sizes["height"]


def _scheduler(request: Request, traits: Traits) -> str:
    scheduler = request.scheduler or traits.scheduler
    if scheduler not in traits.schedulers:
        known = ", ".join(sorted(traits.schedulers))
        raise invalid("scheduler", f"{scheduler} does not fit this model; these do: {known}")
    if request.eta is not None and scheduler != "ddim":
        raise invalid("eta", f"is for scheduler ddim, the request has {scheduler}")
    return scheduler


def _path(scheduler: str, levels: Levels, steps: int) -> Path:
    if steps > levels.count:
        raise invalid("steps", f"must be in 1..{levels.count} for this model, got {steps}")
    try:
        return SCHEDULERS[scheduler].path(levels, steps)
    except ValueError as error:
        raise invalid("steps", str(error)) from error


def _check_adapters(model: Model, adapters: Rows[Scaled]) -> None:
    if not adapters:
        return
    if model.adapters is None:
        raise unsupported(f"adapters: model {model.name!r} takes none here")
    for adapter, _ in adapters:
        model.adapters.check(adapter)


def _prompts(given: Prompts, traits: Traits) -> Prompts:
    if not traits.second_prompt:
        for field, text in (("prompt_2", given.second), ("negative_prompt_2", given.negative_second)):
            if text:
                raise invalid(field, "this model has one text encoder")
    if not traits.negative and given.negative:
        raise invalid("negative_prompt", "this model has its guidance in itself and reads none")
    return given


def _guidance(steering: Steering, scale: float, traits: Traits) -> Guidance:
    if not traits.negative:
        return Guidance()
    return Guidance(scale, steering.start, steering.end, steering.rescale)


def _refuse_cut(reading: Reading) -> None:
    for field, cut in (("prompt", reading.cut), ("negative_prompt", reading.cut_negative)):
        if cut:
            raise invalid(field, f"is longer than the text encoder reads; it would cut off {cut!r}")


def _sketch(editing: Editing | None, model: Model, width: int, height: int, seed: int) -> _Sketch | None:
    if editing is None:
        return None
    picture = resized(editing.picture, width, height)
    if model.traits.factor == 1:
        encoded = model.encode(picture, seed)  # the same for every seed: nothing is drawn
        encode: Callable[[int], Array] = lambda _: encoded  # noqa: E731
    else:
        encode = partial(model.encode, picture)
    if editing.mask is None:
        return _Sketch(encode, None, None)
    mask = resized_mask(editing.mask, width, height)
    factor = model.traits.factor
    return _Sketch(encode, resized_mask(mask, width // factor, height // factor), Kept(picture, mask))
