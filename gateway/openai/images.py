"""``/v1/images``: images from texts and of pictures, whole or with what is becoming of them on the way."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Literal

from google.protobuf.json_format import MessageToDict
from pydantic import ConfigDict, Field

from gateway.caller import Caller
from gateway.openai import adapters
from gateway.openai.answer import Answer, Events
from gateway.openai.body import Body
from pequod.common.v1 import Image, ImageFormat, Usage
from pequod.diffusion import v1
from services.common.errors import invalid
from services.common.pictures.reading import open_picture

GENERATE = "/pequod.diffusion.v1.DiffusionService/Generate"
_FACTORS = (1, 2, 4)
"""How many times an upscaler enlarges."""
_FORMATS = {
    "png": ImageFormat.IMAGE_FORMAT_PNG,
    "jpeg": ImageFormat.IMAGE_FORMAT_JPEG,
    "webp": ImageFormat.IMAGE_FORMAT_WEBP,
}
_AUTO = "auto"
_USUAL_STEPS = 20
_OPEN = 128
"""A mask's place that is less opaque is to be painted anew."""


class ImageBody(Body):
    """A request for new images. The last four fields are our own."""

    refused: ClassVar = {
        "svg": "images have pixels here",
        "frame_count": "images do not move here",
        "frame_duration_ms": "images do not move here",
        "output_compression": "JPEG is of quality 95, PNG and WebP lose nothing",
    }

    prompt: str
    n: int | None = Field(None, ge=1, le=16)
    size: str = _AUTO
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    quality: str = _AUTO
    style: str = ""
    moderation: str = _AUTO
    background: Literal["auto", "opaque", "transparent"] = "auto"
    stream: bool = False
    partial_images: int = Field(0, ge=0, le=3)
    seed: int | None = Field(None, ge=0, lt=2**64)
    steps: int | None = Field(None, ge=1, le=1000)
    guidance_scale: float | None = Field(None, ge=0, le=50)
    negative_prompt: str = ""


class EditBody(ImageBody):
    """A request for images of a picture, a form, where numbers are texts. ``strength`` is our own."""

    model_config = ConfigDict(strict=False)

    refused: ClassVar = {**ImageBody.refused, "input_fidelity": "strength says how far to go from the image"}

    image: bytes | list[bytes]
    mask: bytes | None = None
    strength: float | None = Field(None, gt=0, le=1)


async def generations(body: ImageBody, caller: Caller) -> Answer:
    """Paint."""
    return await _painted(body, await request_of(body, caller), caller, "image_generation")


async def edits(body: EditBody, caller: Caller) -> Answer:
    """Paint a picture anew, or what of it the mask leaves open."""
    given = body.image if isinstance(body.image, list) else [body.image]
    if len(given) != 1:
        raise invalid("image", f"holds {len(given)} pictures, models here begin from one")
    request = await request_of(body, caller)
    request.init_image.data = given[0]
    if body.strength is not None:
        request.strength = body.strength
    if body.mask is not None:
        request.mask.data = await asyncio.to_thread(white_where_open, body.mask)
    return await _painted(body, request, caller, "image_edit")


def white_where_open(data: bytes) -> bytes:
    """A PNG, white where the picture ``data`` is transparent and black elsewhere.

    One without transparency stays: white is already where to paint. Raises INVALID_ARGUMENT for no picture.
    """
    picture = open_picture("mask", data)
    if picture.mode not in {"LA", "RGBA"} and "transparency" not in picture.info:
        return data
    file = io.BytesIO()
    alpha = picture.convert("RGBA").getchannel("A")
    alpha.point([255 if value < _OPEN else 0 for value in range(256)]).save(file, "PNG")
    return file.getvalue()


async def _painted(body: ImageBody, request: v1.GenerateRequest, caller: Caller, kind: str) -> Answer:
    created = int(time.time())
    if body.stream:
        return Events(_events(kind, body, request, created, caller), named=True)
    made: dict[int, v1.GeneratedImage] = {}
    usage = Usage()
    async for reply in adapters.many(GENERATE, request, _adapted, caller):
        if reply.HasField("image"):
            made[reply.image.index] = reply.image
        if reply.HasField("usage"):
            usage = reply.usage
    images = [made[place] for place in sorted(made)]
    return {
        "created": created,
        "background": "opaque",
        "output_format": body.output_format,
        "quality": body.quality,
        "size": _size(images[0].image),
        "data": [{"b64_json": _text(each.image), "seed": each.seed} for each in images],
        "usage": _usage(usage),
    }


async def request_of(body: ImageBody, caller: Caller) -> v1.GenerateRequest:
    """The diffusion service's request. Raises INVALID_ARGUMENT naming the field."""
    if body.response_format == "url":
        raise invalid("response_format", "images are sent, not kept: ask for b64_json")
    if body.background == "transparent":
        raise invalid("background", "images have no transparent parts")
    request = v1.GenerateRequest(
        model=body.model,
        prompt=body.prompt,
        n=body.n or 1,
        negative_prompt=body.negative_prompt,
        output_format=_FORMATS[body.output_format],
    )
    for name in ("seed", "steps", "guidance_scale"):
        if (value := getattr(body, name)) is not None:
            setattr(request, name, value)
    return await _as_shown(body, request, caller)


async def _as_shown(body: ImageBody, request: v1.GenerateRequest, caller: Caller) -> v1.GenerateRequest:
    """With the size and the previews that are asked for, which the model decides over."""
    if body.size == _AUTO and not body.partial_images:
        return request
    model = await adapters.model_of(body.model, caller)
    if adapters.is_adapter(model):
        request = _adapted(request, model.parent)
        model = await adapters.model_of(model.parent, caller)
    config = MessageToDict(model.config)
    if body.size != _AUTO:
        _set_size(request, body.size, config.get(model.family))
    if body.stream and body.partial_images:
        steps = body.steps or int(config.get("defaults", {}).get("steps", _USUAL_STEPS))
        request.preview_every = max(1, -(-steps // (body.partial_images + 1)))
        request.preview_format = request.output_format
    return request


def _adapted(request: v1.GenerateRequest, base: str) -> v1.GenerateRequest:
    changed = v1.GenerateRequest()
    changed.CopyFrom(request)
    changed.model = base
    changed.adapters.add(adapter=request.model)
    return changed


def _set_size(request: v1.GenerateRequest, size: str, sizes: Any) -> None:
    """``sizes``: the configuration of a family that paints at one size; another takes what is asked for."""
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise invalid("size", f"{size!r} is not auto, nor WIDTHxHEIGHT")
    if not isinstance(sizes, dict) or "size" not in sizes:
        request.width, request.height = int(width), int(height)
        return
    side = int(sizes["size"])
    known = {f"{side * factor}x{side * factor}": factor for factor in _FACTORS}
    if size not in known:
        raise invalid("size", f"{size} cannot be made of {request.model}: auto, {', '.join(known)} can")
    request.upscale_factor = known[size]


async def _events(
    kind: str, body: ImageBody, request: v1.GenerateRequest, created: int, caller: Caller
) -> AsyncIterator[dict[str, Any]]:
    """Pictures of the first image on its way, then each image."""
    shared = {"created_at": created, "background": "opaque", "quality": body.quality}
    shared["output_format"] = body.output_format
    partial = 0
    finished: list[v1.GeneratedImage] = []
    usage = Usage()
    async for reply in adapters.many(GENERATE, request, _adapted, caller):
        if reply.HasField("step") and reply.step.HasField("preview") and reply.step.index == 0:
            if partial < body.partial_images and reply.step.step < reply.step.steps:
                image = reply.step.preview
                event = {"type": f"{kind}.partial_image", "partial_image_index": partial}
                yield {**event, **shared, "b64_json": _text(image), "size": _size(image)}
                partial += 1
        elif reply.HasField("image"):
            finished.append(reply.image)
        if reply.HasField("usage"):
            usage = reply.usage
    for place, each in enumerate(sorted(finished, key=lambda each: each.index)):
        event = {"type": f"{kind}.completed", **shared, "b64_json": _text(each.image)}
        used = _usage(usage if place == 0 else Usage())
        yield {**event, "size": _size(each.image), "usage": used, "seed": each.seed}


def _text(image: Image) -> str:
    return base64.b64encode(image.data).decode()


def _size(image: Image) -> str:
    return f"{image.width}x{image.height}"


def _usage(usage: Usage) -> dict[str, Any]:
    """Steps count as what was put out."""
    tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.steps}
    details = {"text_tokens": usage.input_tokens, "image_tokens": 0}
    return {**tokens, "total_tokens": usage.input_tokens + usage.steps, "input_tokens_details": details}
