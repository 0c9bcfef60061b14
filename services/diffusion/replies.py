"""Builds replies: what was made, in protobuf; and the settings that are noted with it."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct

from pequod.common.v1 import Image, ImageFormat, Usage
from pequod.diffusion import v1
from services.common.pictures.writing import Format, write
from services.common.store import ModelVersion
from services.diffusion.engine import Pixels
from services.diffusion.ladder import Rung
from services.diffusion.planning import Plan
from services.diffusion.request import Request
from services.diffusion.serving.finishing import Taken
from services.diffusion.serving.job import Figures, Stepped, Waits

_FORMATS = {
    Format.PNG: ImageFormat.IMAGE_FORMAT_PNG,
    Format.JPEG: ImageFormat.IMAGE_FORMAT_JPEG,
    Format.WEBP: ImageFormat.IMAGE_FORMAT_WEBP,
}


def image(pixels: Pixels, kind: Format, settings: dict[str, Any] | None = None) -> Image:
    """The encoded picture."""
    height, width = pixels.shape[:2]
    return Image(data=write(pixels, kind, settings), format=_FORMATS[kind], width=width, height=height)


def usage(figures: Figures, version: ModelVersion) -> Usage:
    """What a job used."""
    began = figures.submitted if figures.began is None else figures.began
    ended = began if figures.ended is None else figures.ended
    return Usage(
        queue_ms=(began - figures.submitted) * 1e3,
        compute_ms=(ended - began) * 1e3,
        batch_rows=figures.most_rows,
        steps=figures.calls,
        model=version.name,
        version=version.version,
    )


def queued(event: Waits, plan: Plan) -> v1.GenerateResponse:
    """There are others first."""
    return v1.GenerateResponse(
        queued=v1.Queued(
            position=event.position,
            estimated_wait_ms=event.wait_seconds * 1e3,
            estimated_run_ms=event.run_seconds * 1e3,
            truncated_prompt=plan.reading.cut,
            truncated_negative_prompt=plan.reading.cut_negative,
        )
    )


def step(event: Stepped, plan: Plan, preview: Image | None) -> v1.GenerateResponse:
    """One step of one image is done."""
    reply = v1.Step(index=event.index, step=event.step, steps=plan.steps, noise_level=event.noise_level)
    if preview is not None:
        reply.preview.CopyFrom(preview)
    return v1.GenerateResponse(step=reply)


def generated(
    place: int, encoded: Image, seed: int, score: float | None, settings: dict[str, Any]
) -> v1.GenerateResponse:
    """A finished image."""
    noted = Struct()
    noted.update(settings)
    reply = v1.GeneratedImage(index=place, image=encoded, seed=seed, settings=noted)
    if score is not None:
        reply.score = score
    return v1.GenerateResponse(image=reply)


def done(count: int, figures: Figures, text_ms: float, taken: Taken, used: Usage) -> v1.GenerateResponse:
    """The last event."""
    return v1.GenerateResponse(
        done=v1.Done(
            images=count,
            text_ms=text_ms,
            denoise_ms=used.compute_ms,
            decode_ms=taken.milliseconds("decode"),
            upscale_ms=taken.milliseconds("upscale"),
            encode_ms=taken.milliseconds("encode"),
            network_calls=figures.calls,
            mean_rows=figures.rows / max(figures.calls, 1),
        ),
        usage=used,
    )


def rung(each: Rung, noisy: Image, step_back: Image | None, predicted: Image | None) -> v1.Rung:
    """One level of noise."""
    reply = v1.Rung(level=each.level, signal=each.signal, noise=each.noise, noisy=noisy)
    if step_back is not None and predicted is not None:
        reply.step_back.CopyFrom(step_back)
        reply.predicted.CopyFrom(predicted)
    return reply


def settings(request: Request, plan: Plan, version: ModelVersion, seed: int, upscaler: str) -> dict[str, Any]:
    """What an image was made with. Seeds are strings: JSON's numbers hold 53 bits of their 64."""
    noted: dict[str, Any] = {
        "model": str(version),
        "model_digest": version.digest,
        "prompt": request.prompts.prompt,
        "seed": str(seed),
        "steps": plan.asked_steps,
        "scheduler": plan.scheduler,
        "guidance_scale": plan.guidance,
        "width": plan.width,
        "height": plan.height,
        "rng": "torch" if request.is_torch else "philox",
    }
    editing = request.editing
    others = {
        "negative_prompt": request.prompts.negative,
        "prompt_2": request.prompts.second,
        "negative_prompt_2": request.prompts.negative_second,
        "eta": request.eta,
        "guidance_start": request.steering.start,
        "guidance_end": request.steering.end if request.steering.end < 1 else None,
        "guidance_rescale": request.steering.rescale,
        "adapters": [{"adapter": name, "scale": scale} for name, scale in request.adapters],
        "strength": editing.strength if editing else None,
        "init_image_sha256": editing.digest if editing else "",
        "mask_sha256": editing.mask_digest if editing and editing.mask is not None else "",
        "upscale_factor": request.factor if request.factor > 1 else None,
        "upscaler": upscaler,
    }
    return noted | {name: value for name, value in others.items() if value}
