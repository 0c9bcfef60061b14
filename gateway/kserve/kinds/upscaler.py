"""A small picture to a larger one."""

from __future__ import annotations

from functools import partial

import numpy as np

from gateway.caller import Caller
from gateway.kserve import pictures
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.request import Outcome
from gateway.kserve.tensors import Tensor
from pequod.diffusion.v1 import UpscaleRequest

UPSCALE = "/pequod.diffusion.v1.DiffusionService/Upscale"
IMAGE, LARGER = "image", "larger_image"


def opened(served: Served) -> Kind:
    """``factor`` says how many times larger."""
    inputs = (TensorSpec(IMAGE, "UINT8", (FREE, FREE, 3)), *settings(factor="INT32"))
    outputs = (TensorSpec(LARGER, "UINT8", (FREE, FREE, 3)),)
    return Kind(Description(served.platform, inputs, outputs), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    (picture,) = await pictures.written(np.expand_dims(inputs.array(IMAGE), 0))
    request = UpscaleRequest(model=served.asked, image=picture, factor=inputs.whole("factor") or 0)
    reply = await caller.one(UPSCALE, request)
    larger = await pictures.read(LARGER, [reply.image])
    return Outcome([Tensor(LARGER, "UINT8", larger.values[0])], usage=reply.usage)
