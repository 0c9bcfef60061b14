"""Two hundred clients come, go and change their minds for a while: nothing leaks, no text is wrong."""

from __future__ import annotations

import asyncio
import random
import time

import grpc
import grpc.aio
import psutil
import pytest

from pequod.sampler import v1
from services.sampler.settings import SamplerSettings
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.service import sampler_service

CLIENTS = 200
PLENTY = 64 * 2**20
"""Bytes that a process may grow by while its allocator and caches settle."""


@pytest.fixture
async def service(directory, kept, tmp_path):
    """A stub on a running service with few slots, and its metrics."""
    folder = directory("llama")
    settings = SamplerSettings(
        default_model=f"file:{folder}", preload=(f"file:{folder}",), slots=16, cache_bytes=2**21
    )
    async with sampler_service(tmp_path, kept, settings, folder.parent) as (channel, metrics):
        yield v1.SamplerServiceStub(channel), metrics


def requests(chance: random.Random, count: int) -> list[v1.GenerateStreamRequest]:
    """Different requests of all lengths."""
    return [
        v1.GenerateStreamRequest(
            prompt=tiny.TEXT[: chance.randint(1, 200)],
            sampling=v1.Sampling(
                temperature=chance.choice([0.0, 1.0]), top_p=chance.choice([1.0, 0.9]), seed=number
            ),
            stopping=v1.Stopping(max_tokens=chance.randint(1, 90), ignore_eos=chance.random() < 0.5),
        )
        for number in range(count)
    ]


async def text_of(sampler: v1.SamplerServiceStub, request: v1.GenerateStreamRequest, **options) -> str:
    return "".join([part.text async for part in sampler.GenerateStream(request, **options)])


async def client(sampler, known, chance: random.Random, until: float, counts: dict[str, int]) -> None:
    """Ask until the time is over; some answers are not waited for."""
    while time.monotonic() < until:
        request, expected = chance.choice(known)
        mood = chance.random()
        try:
            if mood < 0.2:
                call = sampler.GenerateStream(request)
                for _ in range(chance.randint(0, 5)):
                    await call.read()
                call.cancel()
                counts["left"] += 1
            elif mood < 0.4:
                text = await text_of(sampler, request, timeout=chance.uniform(0.001, 0.5))
                counts["in time"] += text == expected
                counts["wrong"] += text != expected
            else:
                text = await text_of(sampler, request)
                counts["whole"] += text == expected
                counts["wrong"] += text != expected
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                counts["late"] += 1
            elif error.code() == grpc.StatusCode.UNAVAILABLE:
                counts["overloaded"] += 1
                await asyncio.sleep(chance.uniform(0.05, 0.5))
            else:
                raise


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.slow)])
async def test_two_hundred_clients_for_a_while(service, seconds):
    sampler, metrics = service
    chance = random.Random(8)
    known = [(request, await text_of(sampler, request)) for request in requests(chance, 40)]
    counts = dict.fromkeys(("whole", "in time", "late", "left", "overloaded", "wrong"), 0)
    process = psutil.Process()

    async def crowd(span: float) -> None:
        until = time.monotonic() + span
        people = (client(sampler, known, random.Random(k), until, counts) for k in range(CLIENTS))
        await asyncio.gather(*people)

    await crowd(seconds / 4)
    before = process.memory_info().rss
    await crowd(seconds * 3 / 4)
    grown = process.memory_info().rss - before
    async with asyncio.timeout(30):
        while metrics.sequences_running._value.get() or metrics.queue_depth._value.get():
            await asyncio.sleep(0.05)
    assert counts["wrong"] == 0, counts
    assert min(counts["whole"], counts["left"], counts["late"]) > 50, counts
    assert grown < PLENTY, f"{grown} bytes"
    (used,) = metrics.kv_cache_used_ratio._metrics.values()
    assert used._value.get() == 0.0
    again = [await text_of(sampler, request) for request, _ in known[:10]]
    assert again == [text for _, text in known[:10]]
