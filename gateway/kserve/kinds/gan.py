"""A GAN: seeds to images."""

from __future__ import annotations

from functools import partial

from gateway.caller import Caller
from gateway.kserve import pictures
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served, of_images
from gateway.kserve.request import Outcome
from pequod.gan.v1 import SampleRequest
from services.common.errors import invalid

SAMPLE = "/pequod.gan.v1.GanService/Sample"
SEED, ATTRIBUTES, IMAGE = "seed", "attributes", "image"
_MOST_IMAGES, _MOST_ATTRIBUTES = 256, 64


def opened(served: Served) -> Kind:
    """An image a seed; ``attributes``, for models that have them, are texts ``name=value``."""
    has_attributes = bool(served.config.get(ATTRIBUTES))
    attributes = TensorSpec(ATTRIBUTES, "BYTES", (FREE,), optional=True, most=_MOST_ATTRIBUTES, setting=True)
    inputs = (
        TensorSpec(SEED, "INT64", (FREE,), most=_MOST_IMAGES),
        *settings(truncation_psi="FP32", noise_seed="INT64", noise_strength="FP32"),
        *((attributes,) if has_attributes else ()),
    )
    return Kind(Description(served.platform, inputs, (of_images(IMAGE, served),)), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    request = SampleRequest(model=served.asked, seeds=inputs.seeds(SEED))
    options = request.options
    for name in ("truncation_psi", "noise_strength"):
        if (number := inputs.number(name)) is not None:
            setattr(options, name, number)
    if (seed := inputs.seed("noise_seed")) is not None:
        options.noise_seed = seed
    for text in inputs.texts(ATTRIBUTES):
        name, said, value = text.partition("=")
        if not said:
            raise invalid(f"inputs.{ATTRIBUTES}", f"{text[:80]!r} is not name=value")
        options.attributes[name] = value
    reply = await caller.one(SAMPLE, request)
    images = await pictures.read(IMAGE, [each.image for each in reply.images])
    return Outcome([images], rows=len(request.seeds), usage=reply.usage)
