"""Checks requests: protobuf in, frozen dataclasses out, or an error naming field, value and limit."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from pequod.common.v1 import Image, ImageFormat
from pequod.diffusion import v1
from services.common.errors import invalid
from services.common.pictures.writing import Format
from services.common.rpc.fields import enum, number, one_of, reference, whole
from services.diffusion.engine import Pixels, Prompts
from services.diffusion.pictures.reading import Limits, read_mask, read_picture
from services.diffusion.schedulers.levels import Array

PROMPT_BYTES = 16 * 2**10
MOST_STEPS = 1000
MOST_IMAGES, MOST_CANDIDATES = 16, 64
MOST_ADAPTERS = 8
MOST_GUIDANCE = 50.0
MOST_SCALE = 4.0
MOST_RUNGS, USUAL_RUNGS = 64, 8
FACTORS = (1, 2, 4)
UPSCALED_SIDE = 1024

FORMATS = {
    ImageFormat.IMAGE_FORMAT_UNSPECIFIED: Format.PNG,
    ImageFormat.IMAGE_FORMAT_PNG: Format.PNG,
    ImageFormat.IMAGE_FORMAT_JPEG: Format.JPEG,
    ImageFormat.IMAGE_FORMAT_WEBP: Format.WEBP,
}


@dataclass(frozen=True)
class Steering:
    """How strongly the prompt steers, and when; None: as the model usually does."""

    scale: float | None = None
    start: float = 0.0
    end: float = 1.0
    rescale: float = 0.0


@dataclass(frozen=True, eq=False)
class Editing:
    """A picture to begin from."""

    picture: Pixels
    strength: float
    mask: Array | None = None
    """[1, height, width]: 1 where to paint anew."""
    digest: str = ""
    """SHA-256 of the picture's file."""
    mask_digest: str = ""


@dataclass(frozen=True, eq=False)
class Request:
    """A request whose values are sound; whether its model can do it is for ``planning`` to say."""

    prompts: Prompts
    steering: Steering
    steps: int | None
    seed: int
    n: int
    best_of: int
    width: int
    height: int
    scheduler: str
    """Empty: the model's."""
    eta: float | None
    editing: Editing | None
    adapters: tuple[tuple[str, float], ...]
    factor: int
    preview_every: int
    preview_format: Format
    output_format: Format
    is_torch: bool
    """Noise as diffusers draws it."""
    refuse_overflow: bool


@dataclass(frozen=True, eq=False)
class LadderRequest:
    """A picture to see at rising levels of noise."""

    picture: Pixels
    prompt: str
    guidance: float
    rungs: int
    levels: tuple[int, ...]
    seed: int
    is_torch: bool
    output_format: Format


@dataclass(frozen=True, eq=False)
class UpscaleRequest:
    """A picture to enlarge."""

    picture: Pixels
    factor: int
    output_format: Format


def read_generate(request: v1.GenerateRequest) -> Request:
    """A request for images. Decodes its pictures, so not for the event loop when it has any."""
    n = _count("n", request.n, 1, MOST_IMAGES)
    for name in ("upscaler", "ranker"):
        reference(name, getattr(request, name))
    return Request(
        prompts=_prompts(request),
        steering=_steering(request),
        steps=whole("steps", request.steps, 1, MOST_STEPS) if request.HasField("steps") else None,
        seed=_seed(request),
        n=n,
        best_of=_count("best_of", request.best_of, n, MOST_CANDIDATES),
        width=request.width,
        height=request.height,
        scheduler=_scheduler(request.scheduler),
        eta=number("eta", request.eta, 0, 1) if request.HasField("eta") else None,
        editing=_editing(request),
        adapters=_adapters(request),
        factor=one_of("upscale_factor", request.upscale_factor or 1, FACTORS),
        preview_every=request.preview_every,
        preview_format=_format("preview_format", request.preview_format, Format.WEBP),
        output_format=_format("output_format", request.output_format, Format.PNG),
        is_torch=enum("rng", request.rng, v1.NoiseSource) == v1.NOISE_SOURCE_TORCH,
        refuse_overflow=enum("overflow", request.overflow, v1.PromptOverflow) == v1.PROMPT_OVERFLOW_REFUSE,
    )


def read_ladder(request: v1.NoiseLadderRequest) -> LadderRequest:
    """A request for a noise ladder."""
    if len(request.levels) > MOST_RUNGS:
        raise invalid("levels", f"has {len(request.levels)} entries, at most {MOST_RUNGS}")
    guided = request.HasField("guidance_scale")
    return LadderRequest(
        picture=read_picture("image", request.image.data),
        prompt=_text("prompt", request.prompt),
        guidance=number("guidance_scale", request.guidance_scale, 0, MOST_GUIDANCE) if guided else 1.0,
        rungs=whole("rungs", request.rungs or USUAL_RUNGS, 2, MOST_RUNGS),
        levels=tuple(sorted(set(request.levels))),
        seed=_seed(request),
        is_torch=enum("rng", request.rng, v1.NoiseSource) == v1.NOISE_SOURCE_TORCH,
        output_format=_format("output_format", request.output_format, Format.PNG),
    )


def read_upscale(request: v1.UpscaleRequest) -> UpscaleRequest:
    """A request for a larger picture."""
    limits = Limits(UPSCALED_SIDE, UPSCALED_SIDE**2)
    return UpscaleRequest(
        picture=read_picture("image", request.image.data, limits),
        factor=one_of("factor", request.factor or 2, FACTORS[1:]),
        output_format=_format("output_format", request.output_format, Format.PNG),
    )


def _prompts(request: v1.GenerateRequest) -> Prompts:
    prompt, negative = _text("prompt", request.prompt), _text("negative_prompt", request.negative_prompt)
    second, negative_second = (
        _text("prompt_2", request.prompt_2),
        _text("negative_prompt_2", request.negative_prompt_2),
    )
    return Prompts(prompt, negative, second, negative_second)


def _steering(request: v1.GenerateRequest) -> Steering:
    scale = (
        number("guidance_scale", request.guidance_scale, 0, MOST_GUIDANCE)
        if request.HasField("guidance_scale")
        else None
    )
    start = number("guidance_start", request.guidance_start, 0, 1)
    end = request.guidance_end if request.HasField("guidance_end") else 1.0
    return Steering(
        scale,
        start,
        number("guidance_end", end, start, 1),
        number("guidance_rescale", request.guidance_rescale, 0, 1),
    )


def _editing(request: v1.GenerateRequest) -> Editing | None:
    for field in ("strength", "mask"):
        if request.HasField(field) and not request.HasField("init_image"):
            raise invalid(field, "needs init_image")
    if not request.HasField("init_image"):
        return None
    picture = read_picture("init_image", request.init_image.data)
    mask = _mask(request.mask, picture) if request.HasField("mask") else None
    usual = 0.8 if mask is None else 1.0
    strength = request.strength if request.HasField("strength") else usual
    if not 0 < strength <= 1:
        raise invalid("strength", f"must be above 0 and at most 1, got {strength:g}")
    digests = (hashlib.sha256(each.data).hexdigest() for each in (request.init_image, request.mask))
    return Editing(picture, strength, mask, *digests)


def _mask(given: Image, picture: Pixels) -> Array:
    return read_mask("mask", given.data, (picture.shape[1], picture.shape[0]))


def _adapters(request: v1.GenerateRequest) -> tuple[tuple[str, float], ...]:
    if len(request.adapters) > MOST_ADAPTERS:
        raise invalid("adapters", f"has {len(request.adapters)} entries, at most {MOST_ADAPTERS}")
    read: dict[str, float] = {}
    for place, each in enumerate(request.adapters):
        if not each.adapter:
            raise invalid(f"adapters[{place}].adapter", "must not be empty")
        reference(f"adapters[{place}].adapter", each.adapter)
        if each.adapter in read:
            raise invalid(f"adapters[{place}].adapter", f"{each.adapter!r} is there twice")
        scale = each.scale if each.HasField("scale") else 1.0
        read[each.adapter] = number(f"adapters[{place}].scale", scale, -MOST_SCALE, MOST_SCALE)
    return tuple(read.items())


def _scheduler(value: v1.Scheduler.ValueType) -> str:
    if enum("scheduler", value, v1.Scheduler) == v1.SCHEDULER_UNSPECIFIED:
        return ""
    return v1.Scheduler.Name(value).removeprefix("SCHEDULER_").lower()


def _seed(request: v1.GenerateRequest | v1.NoiseLadderRequest) -> int:
    return request.seed if request.HasField("seed") else secrets.randbits(32)


def _text(field: str, text: str) -> str:
    size = len(text.encode())
    if size > PROMPT_BYTES:
        raise invalid(field, f"has {size} bytes, at most {PROMPT_BYTES} (16 KiB)")
    return text


def _count(field: str, value: int, least: int, most: int) -> int:
    """A count whose 0 stands for the least."""
    return whole(field, value or least, least, most)


def _format(field: str, value: ImageFormat.ValueType, usual: Format) -> Format:
    if enum(field, value, ImageFormat) == ImageFormat.IMAGE_FORMAT_UNSPECIFIED:
        return usual
    return FORMATS[value]
