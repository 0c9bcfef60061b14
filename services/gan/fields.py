"""Checks what requests have in common: protobuf in, frozen dataclasses out, or an error naming the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pequod.common.v1 import Image, ImageFormat
from pequod.gan import v1
from services.common.errors import invalid
from services.common.pictures.arrays import Array
from services.common.pictures.reading import Pixels, read_picture
from services.common.pictures.writing import Format
from services.common.rpc.fields import enum, number, one_of, reference
from services.gan.pictures import fitted

MOST_IMAGES = 256
FACTORS = (1, 2, 4)
MOST_PSI = 2.0
MOST_ATTRIBUTES = 64
MOST_CODE = 65536
"""Numbers of a latent code."""
_FARTHEST = 1000.0
"""No network's styles are near it; beyond, synthesis could overflow."""

FORMATS = {
    ImageFormat.IMAGE_FORMAT_UNSPECIFIED: Format.PNG,
    ImageFormat.IMAGE_FORMAT_PNG: Format.PNG,
    ImageFormat.IMAGE_FORMAT_JPEG: Format.JPEG,
    ImageFormat.IMAGE_FORMAT_WEBP: Format.WEBP,
}


@dataclass(frozen=True)
class Options:
    """How origins become images."""

    psi: float | None
    """None: as the model usually does."""
    cutoff: int
    attributes: Mapping[str, str]
    noise_seed: int | None
    """None: the origin's."""
    noise_strength: float
    factor: int
    upscaler: str
    format: Format
    wants_codes: bool


@dataclass(frozen=True, eq=False)
class Origin:
    """Where an image comes from: a seed, or the code of an earlier reply."""

    field: str
    """Its name in the request."""
    seed: int = 0
    code: Array | None = None
    """[layers, width]."""


def read_options(options: v1.SynthesisOptions) -> Options:
    """Raises INVALID_ARGUMENT naming ``options.…``."""
    psi = options.truncation_psi if options.HasField("truncation_psi") else None
    strength = options.noise_strength if options.HasField("noise_strength") else 1.0
    return Options(
        psi=None if psi is None else number("options.truncation_psi", psi, -MOST_PSI, MOST_PSI),
        cutoff=options.truncation_cutoff,
        attributes=read_attributes("options.attributes", options.attributes),
        noise_seed=options.noise_seed if options.HasField("noise_seed") else None,
        noise_strength=number("options.noise_strength", strength, 0, 1),
        factor=one_of("options.upscale_factor", options.upscale_factor or 1, FACTORS),
        upscaler=reference("options.upscaler", options.upscaler),
        format=FORMATS[_image_format(options.output_format)],
        wants_codes=options.return_codes,
    )


def read_attributes(field: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """What is stated; whether a model knows it is for ``Vocabulary`` to say."""
    if len(attributes) > MOST_ATTRIBUTES:
        raise invalid(field, f"has {len(attributes)} entries, at most {MOST_ATTRIBUTES}")
    return dict(sorted(attributes.items()))


def read_origin(field: str, origin: v1.Origin) -> Origin:
    """Raises INVALID_ARGUMENT for no origin and for codes that are none; a model checks their shape."""
    kind = origin.WhichOneof("origin")
    if kind is None:
        raise invalid(field, "is required: a seed or a code")
    if kind == "seed":
        return Origin(field, seed=origin.seed)
    return Origin(field, code=_code(f"{field}.code", origin.code))


def read_images(field: str, images: Sequence[Image], size: int) -> list[Pixels]:
    """[size, size, 3] of each; blocking. One by one: many large ones would fill the memory."""
    return [fitted(read_picture(f"{field}[{place}]", each.data), size) for place, each in enumerate(images)]


def _code(field: str, code: v1.LatentCode) -> Array:
    layers, width = code.layers, code.dimensions
    if not 0 < layers * width <= MOST_CODE:
        raise invalid(field, f"is {layers} layers of {width} numbers; 1..{MOST_CODE} numbers are read")
    if len(code.values) != layers * width:
        raise invalid(field, f"has {len(code.values)} values, {layers} x {width} are said")
    values = np.asarray(code.values, np.float32).reshape(layers, width)
    if not (np.abs(values) <= _FARTHEST).all():
        raise invalid(field, f"must be finite numbers in {-_FARTHEST:g}..{_FARTHEST:g}")
    return values


def _image_format(value: ImageFormat.ValueType) -> ImageFormat.ValueType:
    enum("options.output_format", value, ImageFormat)
    return value
