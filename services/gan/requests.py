"""Checks the request of each RPC: protobuf in, frozen dataclasses out, or an error naming the field."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pequod.gan import v1
from services.common.errors import invalid
from services.common.pictures.reading import Pixels, read_picture
from services.common.rpc.fields import enum, number, whole
from services.gan.fields import (
    MOST_IMAGES,
    Options,
    Origin,
    read_attributes,
    read_options,
    read_origin,
)
from services.gan.pictures import Moving

MOST_STOPS, MOST_FRAMES, USUAL_FRAMES = 64, 600, 60
MOST_RATE, USUAL_RATE = 60, 30
"""Frames a second."""
MOST_DONORS, MOST_EDITS, MOST_AMOUNT = 16, 32, 10.0
MOST_LAYERS = 1024
MOST_STEPS, USUAL_STEPS = 1000, 100
USUAL_STEP_SIZE, MOST_PULL = 0.05, 10.0
MOST_NEIGHBOURS, USUAL_NEIGHBOURS = 64, 4
_SEED_BITS = 32
"""Of drawn seeds: short to write down."""


@dataclass(frozen=True)
class Sample:
    """Images of seeds."""

    seeds: tuple[int, ...]
    options: Options
    is_grid: bool


@dataclass(frozen=True, eq=False)
class Walk:
    """Frames on the way from stop to stop."""

    stops: tuple[Origin, ...]
    frames: int
    in_z: bool
    is_curved: bool
    loop: bool
    options: Options
    moving: Moving | None
    per_second: int


@dataclass(frozen=True, eq=False)
class Mix:
    """An image with some layers of others."""

    base: Origin
    donors: tuple[Origin, ...]
    layers: tuple[tuple[int, ...], ...]
    """Of each donor; whether a model has them is checked with it."""
    options: Options


@dataclass(frozen=True, eq=False)
class Project:
    """A picture whose code is wanted."""

    picture: Pixels
    steps: int
    start: int
    """Of ``v1.ProjectionStart``."""
    rate: float
    regularization: float | None
    preview_every: int
    noise_seed: int
    options: Options


@dataclass(frozen=True, eq=False)
class Edit:
    """An image to be moved along directions: (name, amount)."""

    origin: Origin
    edits: tuple[tuple[str, float], ...]
    options: Options


@dataclass(frozen=True, eq=False)
class Nearest:
    """A picture, or an image to be made, among the training images."""

    picture: Pixels | None
    origin: Origin | None
    limit: int


def usual() -> Options:
    """The options of requests that have none."""
    return read_options(v1.SynthesisOptions())


def read_sample(request: v1.SampleRequest) -> Sample:
    """Seeds as they are, or drawn."""
    if len(request.seeds) > MOST_IMAGES:
        raise invalid("seeds", f"has {len(request.seeds)} entries, at most {MOST_IMAGES}")
    if request.seeds and request.n:
        raise invalid("n", "not together with seeds")
    if not request.seeds and not request.n:
        raise invalid("seeds", f"either seeds or n (1..{MOST_IMAGES}) is required")
    drawn = (secrets.randbits(_SEED_BITS) for _ in range(whole("n", request.n, 0, MOST_IMAGES)))
    return Sample(
        seeds=tuple(request.seeds) or tuple(drawn),
        options=read_options(request.options),
        is_grid=enum("layout", request.layout, v1.Layout) == v1.LAYOUT_GRID,
    )


def read_walk(request: v1.InterpolateRequest) -> Walk:
    """Stops, and how to go from one to the next."""
    if not 2 <= len(request.stops) <= MOST_STOPS:
        raise invalid("stops", f"has {len(request.stops)} entries, 2..{MOST_STOPS} are needed")
    stops = tuple(read_origin(f"stops[{place}]", each) for place, each in enumerate(request.stops))
    in_z = enum("space", request.space, v1.LatentSpace) == v1.LATENT_SPACE_Z
    way = enum("interpolation", request.interpolation, v1.Interpolation)
    for stop in stops:
        if in_z and stop.code is not None:
            raise invalid(stop.field, "is a code, which has no place in Z: use LATENT_SPACE_W")
    usual = v1.INTERPOLATION_SPHERICAL if in_z else v1.INTERPOLATION_LINEAR
    return Walk(
        stops=stops,
        frames=whole("frames", request.frames or USUAL_FRAMES, 2, MOST_FRAMES),
        in_z=in_z,
        is_curved=(way or usual) == v1.INTERPOLATION_SPHERICAL,
        loop=request.loop,
        options=read_options(request.options),
        moving=_moving(request.animation),
        per_second=whole("frames_per_second", request.frames_per_second or USUAL_RATE, 1, MOST_RATE),
    )


def read_mix(request: v1.MixRequest) -> Mix:
    """Whose layers go where; no layer has two donors."""
    if not 1 <= len(request.donors) <= MOST_DONORS:
        raise invalid("donors", f"has {len(request.donors)} entries, 1..{MOST_DONORS} are needed")
    taken: dict[int, int] = {}
    for place, donor in enumerate(request.donors):
        field = f"donors[{place}].layers"
        if not 1 <= len(donor.layers) <= MOST_LAYERS:
            raise invalid(field, f"has {len(donor.layers)} entries, 1..{MOST_LAYERS} are needed")
        for layer in donor.layers:
            if layer in taken:
                raise invalid(field, f"layer {layer} is taken from donors[{taken[layer]}] already")
            taken[layer] = place
    return Mix(
        base=read_origin("base", request.base),
        donors=tuple(
            read_origin(f"donors[{place}].origin", each.origin) for place, each in enumerate(request.donors)
        ),
        layers=tuple(tuple(each.layers) for each in request.donors),
        options=read_options(request.options),
    )


def read_score(request: v1.ScoreRequest) -> Mapping[str, str]:
    """What the pictures are said to show; they are read when the model's size is known."""
    if not 1 <= len(request.images) <= MOST_IMAGES:
        raise invalid("images", f"has {len(request.images)} entries, 1..{MOST_IMAGES} are needed")
    return read_attributes("attributes", request.attributes)


def read_project(request: v1.ProjectRequest) -> Project:
    """Decodes the picture, so not for the event loop."""
    has_pull = request.HasField("regularization")
    rate = request.learning_rate if request.HasField("learning_rate") else USUAL_STEP_SIZE
    if not (math.isfinite(rate) and 0 < rate <= 1):
        raise invalid("learning_rate", f"must be above 0 and at most 1, got {rate:g}")
    options = read_options(request.options)
    steps = request.steps if request.HasField("steps") else USUAL_STEPS
    return Project(
        steps=whole("steps", steps, 0, MOST_STEPS),
        start=enum("start", request.start, v1.ProjectionStart),
        rate=rate,
        regularization=number("regularization", request.regularization, 0, MOST_PULL) if has_pull else None,
        preview_every=request.preview_every,
        noise_seed=request.seed if options.noise_seed is None else options.noise_seed,
        options=options,
        picture=read_picture("image", request.image.data),
    )


def read_edit(request: v1.EditRequest) -> Edit:
    """Amounts of directions; whether a model has them is checked with it."""
    if not 1 <= len(request.edits) <= MOST_EDITS:
        raise invalid("edits", f"has {len(request.edits)} entries, 1..{MOST_EDITS} are needed")
    edits = tuple(
        (each.direction, number(f"edits[{place}].amount", each.amount, -MOST_AMOUNT, MOST_AMOUNT))
        for place, each in enumerate(request.edits)
    )
    return Edit(read_origin("origin", request.origin), edits, read_options(request.options))


def read_nearest(request: v1.NearestRequest) -> Nearest:
    """Decodes the picture where there is one, so not for the event loop."""
    limit = whole("limit", request.limit or USUAL_NEIGHBOURS, 1, MOST_NEIGHBOURS)
    query = request.WhichOneof("query")
    if query == "image":
        return Nearest(read_picture("image", request.image.data), None, limit)
    if query == "origin":
        return Nearest(None, read_origin("origin", request.origin), limit)
    raise invalid("query", "is required: an image or an origin")


def _moving(value: v1.AnimationFormat.ValueType) -> Moving | None:
    enum("animation", value, v1.AnimationFormat)
    known = {v1.ANIMATION_FORMAT_WEBP: Moving.WEBP, v1.ANIMATION_FORMAT_GIF: Moving.GIF}
    return known.get(value)
