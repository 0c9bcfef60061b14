"""Images from texts, by denoising."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial

from gateway.caller import Caller
from gateway.kserve import pictures
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served, of_images
from gateway.kserve.request import Outcome
from gateway.openai.images import GENERATE
from pequod.common.v1 import Usage
from pequod.diffusion.v1 import GeneratedImage, GenerateRequest

PROMPT, IMAGE = "prompt", "image"


def opened(served: Served) -> Kind:
    """``n`` images of a prompt; ``width`` and ``height`` for models that have no size of their own."""
    image = of_images(IMAGE, served)
    sizes = settings(width="INT32", height="INT32") if image.shape[1] == FREE else ()
    inputs = (
        TensorSpec(PROMPT, "BYTES", (1,)),
        *settings(negative_prompt="BYTES", seed="INT64", steps="INT32", guidance_scale="FP32", n="INT32"),
        *sizes,
    )
    return Kind(Description(served.platform, inputs, (image,)), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    request = request_of(served, inputs)
    made: list[GeneratedImage] = []
    usage = Usage()
    async with aclosing(caller.many(GENERATE, request)) as replies:
        async for reply in replies:
            if reply.HasField("image"):
                made.append(reply.image)
            if reply.HasField("usage"):
                usage = reply.usage
    made.sort(key=lambda each: each.index)
    images = await pictures.read(IMAGE, [each.image for each in made])
    return Outcome([images], rows=len(made), usage=usage, parameters={"seed": made[0].seed})


def request_of(served: Served, inputs: Inputs) -> GenerateRequest:
    """The diffusion service's request."""
    request = GenerateRequest(
        model=served.asked,
        prompt=inputs.text(PROMPT),
        negative_prompt=inputs.text("negative_prompt"),
        n=inputs.whole("n") or 0,
        width=inputs.whole("width") or 0,
        height=inputs.whole("height") or 0,
    )
    if served.adapter:
        request.adapters.add(adapter=served.adapter)
    for name, value in (
        ("seed", inputs.seed("seed")),
        ("steps", inputs.whole("steps", least=1)),
        ("guidance_scale", inputs.number("guidance_scale")),
    ):
        if value is not None:
            setattr(request, name, value)
    return request
