"""The calls that load is made of: one of each service, each with an answer that may not change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio

from pequod.diffusion import v1 as diffusion
from pequod.finetune import v1 as finetune
from pequod.gan import v1 as gan
from pequod.sampler import v1 as sampler
from pequod.tokenizer import v1 as tokenizer

Ask = Callable[[grpc.aio.Channel, dict[str, Any]], Awaitable[bytes | None]]
"""Makes one call with the keyword arguments given; returns what must be the same every time, or None."""


@dataclass(frozen=True)
class Kind:
    """One kind of call. ``share``: how often it is made, beside the others' shares."""

    name: str
    service: str
    share: int
    ask: Ask
    needs_database: bool = False


async def _text(channel: grpc.aio.Channel, with_: dict[str, Any]) -> bytes:
    request = sampler.GenerateRequest(
        model="moby-ngram",
        prompt="THE ",
        ngram=sampler.NgramOptions(order=3),
        stopping=sampler.Stopping(max_tokens=40),
        sampling=sampler.Sampling(seed=7),
    )
    reply = await sampler.SamplerServiceStub(channel).Generate(request, **with_)
    return str(reply.completions[0].text).encode()


async def _written(channel: grpc.aio.Channel, with_: dict[str, Any]) -> bytes:
    request = sampler.GenerateStreamRequest(
        model="moby-ngram",
        prompt="THE ",
        ngram=sampler.NgramOptions(order=3),
        stopping=sampler.Stopping(max_tokens=400),
        sampling=sampler.Sampling(seed=7),
    )
    pieces = [
        each.text async for each in sampler.SamplerServiceStub(channel).GenerateStream(request, **with_)
    ]
    return "".join(pieces).encode()


async def _tokens(channel: grpc.aio.Channel, with_: dict[str, Any]) -> bytes:
    request = tokenizer.TokenizeRequest(model="gpt2", texts=["Call me Ishmael."])
    reply = await tokenizer.TokenizerServiceStub(channel).Tokenize(request, **with_)
    return str(list(reply.tokenizations[0].ids)).encode()


async def _face(channel: grpc.aio.Channel, with_: dict[str, Any]) -> bytes:
    reply = await gan.GanServiceStub(channel).Sample(gan.SampleRequest(seeds=[7]), **with_)
    return bytes(reply.images[0].image.data)


async def _image(channel: grpc.aio.Channel, with_: dict[str, Any]) -> bytes:
    request = diffusion.GenerateRequest(
        prompt="a smiling person", steps=4, seed=7, guidance_scale=1.0, scheduler=diffusion.SCHEDULER_LCM
    )
    events = diffusion.DiffusionServiceStub(channel).Generate(request, **with_)
    images = [bytes(each.image.image.data) async for each in events if each.HasField("image")]
    return b"".join(images)


async def _jobs(channel: grpc.aio.Channel, with_: dict[str, Any]) -> None:
    await finetune.FineTuneServiceStub(channel).ListJobs(finetune.ListJobsRequest(), **with_)


KINDS = (
    Kind("text", "sampler", 8, _text),
    Kind("stream", "sampler", 3, _written),
    Kind("tokens", "tokenizer", 8, _tokens),
    Kind("face", "gan", 2, _face),
    Kind("image", "diffusion", 1, _image),
    Kind("jobs", "finetune", 2, _jobs, needs_database=True),
)
