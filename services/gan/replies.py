"""Builds replies: images in protobuf, and what is noted with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pequod.common.v1 import Image, ImageFormat, Progress
from pequod.gan import v1
from services.common.pictures.arrays import Array
from services.common.pictures.reading import Pixels
from services.common.pictures.writing import Format, write
from services.common.store import ModelVersion
from services.gan.companions.neighbours import Neighbour
from services.gan.companions.references import References
from services.gan.engine import Drawn
from services.gan.pictures import Moving
from services.gan.planning import Setting

_FORMATS = {
    Format.PNG: ImageFormat.IMAGE_FORMAT_PNG,
    Format.JPEG: ImageFormat.IMAGE_FORMAT_JPEG,
    Format.WEBP: ImageFormat.IMAGE_FORMAT_WEBP,
}
_MOVING = {Moving.WEBP: v1.ANIMATION_FORMAT_WEBP, Moving.GIF: v1.ANIMATION_FORMAT_GIF}


def image(pixels: Pixels, kind: Format, settings: dict[str, Any] | None = None) -> Image:
    """The encoded picture."""
    height, width = pixels.shape[:2]
    return Image(data=write(pixels, kind, settings), format=_FORMATS[kind], width=width, height=height)


def code(values: Array) -> v1.LatentCode:
    """[layers, width]."""
    layers, width = values.shape
    return v1.LatentCode(values=values.ravel().tolist(), layers=layers, dimensions=width)


def generated(drawn: Drawn, encoded: Image | None, seed: int, wants_code: bool) -> v1.GeneratedImage:
    """An image made; without its file where it is part of a grid."""
    reply = v1.GeneratedImage(image=encoded, seed=seed)
    if wants_code:
        reply.code.CopyFrom(code(drawn.code))
    return reply


def animation(data: bytes, kind: Moving, frames: Sequence[Pixels]) -> v1.Animation:
    """A moving picture."""
    height, width = frames[0].shape[:2]
    return v1.Animation(data=data, format=_MOVING[kind], frames=len(frames), width=width, height=height)


def progress(done: int, frames: int) -> v1.InterpolateResponse:
    """Frames made so far."""
    return v1.InterpolateResponse(progress=Progress(completed=done, total=frames, unit="frames"))


def score(logit: float, references: References) -> v1.ImageScore:
    """What the discriminator says of an image."""
    real, made = references.percentiles(logit)
    return v1.ImageScore(logit=logit, real_percentile=real, fake_percentile=made)


def neighbour(found: Neighbour) -> v1.TrainingImage:
    """A training image; versions hold only features of them."""
    return v1.TrainingImage(similarity=found.similarity, index=found.index, caption=found.caption)


def settings(setting: Setting, version: ModelVersion, seeds: Sequence[int], upscaler: str) -> dict[str, Any]:
    """What an image of seeds was made with. Seeds are strings: JSON's numbers hold 53 bits of their 64."""
    options = setting.options
    noted: dict[str, Any] = {
        "model": str(version),
        "model_digest": version.digest,
        "seed": ",".join(map(str, seeds)),
        "truncation_psi": setting.psi,
        "noise_strength": options.noise_strength,
    }
    others = {
        "truncation_cutoff": options.cutoff,
        "attributes": dict(options.attributes),
        "noise_seed": None if options.noise_seed is None else str(options.noise_seed),
        "upscale_factor": options.factor if options.factor > 1 else None,
        "upscaler": upscaler,
    }
    return noted | {name: value for name, value in others.items() if value}
