"""Load over gRPC and HTTP that checks every status and payload."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc.aio
import psutil

from pequod.sampler.v1 import GenerateRequest
from tests.bench.gateway import http

GENERATE = "/pequod.sampler.v1.SamplerService/Generate"
GENERATE_STREAM = "/pequod.sampler.v1.SamplerService/GenerateStream"
PAYLOAD = GenerateRequest(model="moby-ngram", prompt="THE WHALE " * 18).SerializeToString()
"""About 200 bytes, and a message: a gateway with limits looks into it."""
WORDS = ("THE WHALE " * 18).encode()
TEXT = json.dumps({"text": "THE WHALE " * 18}, separators=(",", ":")).encode()
STREAMS = 16
MESSAGES = 500

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Subject:
    """A server under measurement."""

    name: str
    port: int
    process: psutil.Process
    metadata: Metadata = ()
    """What callers show."""
    http: str = ""
    """Path of an echo over HTTP; empty: gRPC."""
    also: tuple[psutil.Process, ...] = ()
    """Processes that do part of its work."""
    path: str = GENERATE
    request: bytes = PAYLOAD
    reply: bytes = PAYLOAD
    """What replies hold."""


async def unary(subject: Subject, callers: int, seconds: float) -> tuple[int, float, list[float]]:
    """``callers`` loops of calls; returns how many there were, the seconds, and each call's seconds."""
    if subject.http:
        return await http.post(subject.port, subject.http, TEXT, callers, seconds)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{subject.port}") as channel:
        stub = channel.unary_unary(subject.path)
        await stub(subject.request, metadata=subject.metadata)
        taken: list[float] = []
        began = time.perf_counter()

        async def caller() -> None:
            while (start := time.perf_counter()) < began + seconds:
                call = stub(subject.request, timeout=30, metadata=subject.metadata)
                if subject.reply not in await call or await call.code() is not grpc.StatusCode.OK:
                    raise AssertionError("a reply is not the request")
                taken.append(time.perf_counter() - start)

        await asyncio.gather(*[caller() for _ in range(callers)])
        return len(taken), time.perf_counter() - began, taken


async def streams(subject: Subject, _callers: int, _seconds: float) -> tuple[int, float, list[float]]:
    """STREAMS streams of MESSAGES messages each; times between messages are not taken."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{subject.port}") as channel:
        stub = channel.unary_stream(GENERATE_STREAM)

        async def reader() -> int:
            call = stub(PAYLOAD, timeout=60, metadata=subject.metadata)
            count = 0
            async for message in call:
                count += message == PAYLOAD
            if count != MESSAGES or await call.code() is not grpc.StatusCode.OK:
                raise AssertionError(f"{count} good messages of {MESSAGES}")
            return count

        began = time.perf_counter()
        counts = await asyncio.gather(*[reader() for _ in range(STREAMS)])
        return sum(counts), time.perf_counter() - began, [0.0]


Load = Callable[[Subject, int, float], Coroutine[Any, Any, tuple[int, float, list[float]]]]
CASES: tuple[tuple[str, Load, int], ...] = (
    ("1 caller", unary, 1),
    ("16 callers", unary, 16),
    ("64 callers", unary, 64),
    (f"{STREAMS} streams", streams, STREAMS),
)
