"""The sampler service as one more worker of bench_lm: a process of its own, called by GenerateStream."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import uvloop

from pequod.common.v1 import TokenIds
from pequod.sampler import v1
from tests.bench.lm.engine import CACHE
from tests.bench.lm.workload import Request
from tests.bench.process import ServiceProcess

Result = TypeVar("Result")
Stub = Any
"""A ``SamplerServiceStub`` over ``grpc.aio``, which its type stubs do not know."""


class Service:
    """A sampler that has one model in memory, ended with the block."""

    def __init__(self, name: str, folder: Path, threads: int, pace_ms: float | None = None) -> None:
        """``pace_ms`` is how long the tokens of a stream gather; None: the default."""
        self.name = name
        self._model = f"file:{folder}"
        self._kept: dict[str, Sequence[Sequence[Request]]] = {}
        environment = {
            "PEQUOD_SAMPLER_PRELOAD": self._model,
            "PEQUOD_FILE_ROOTS": str(folder.parent),
            "PEQUOD_CACHE": str(CACHE.resolve()),
            "PEQUOD_THREADS": str(threads),
        }
        if pace_ms is not None:
            environment["PEQUOD_SAMPLER_PACE_MS"] = str(pace_ms)
        log = re.sub("[^a-z0-9]+", "-", name.lower())
        self._process = ServiceProcess("sampler", ("services.sampler",), environment, log)

    def __enter__(self) -> Service:
        self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()

    def keep(self, name: str, groups: Sequence[Sequence[Request]]) -> None:
        """Remember a workload; see ``Child``."""
        self._kept[name] = groups

    def run(self, name: str) -> tuple[float, float]:
        """Wall seconds of a workload as the caller sees them, and CPU seconds of the service."""
        groups = self._kept[name]
        wall, cpu = time.perf_counter(), self._process.cpu_seconds()
        made = self.make(groups)
        wall, cpu = time.perf_counter() - wall, self._process.cpu_seconds() - cpu
        wanted = [request["count"] for group in groups for request in group]
        assert list(map(len, made)) == wanted
        return wall, cpu

    def make(self, groups: Sequence[Sequence[Request]]) -> list[list[int]]:
        """The tokens of every request; a group's requests are streams at the same time."""

        async def calls(stub: Stub) -> list[list[int]]:
            made: list[list[int]] = []
            for group in groups:
                made += await asyncio.gather(*[self.tokens(stub, request) for request in group])
            return made

        return self.call(calls)

    def call(self, calls: Callable[[Stub], Coroutine[Any, Any, Result]]) -> Result:
        """Run ``calls`` with a stub of the service."""

        async def opened() -> Result:
            async with grpc.aio.insecure_channel(self._process.target) as channel:
                return await calls(v1.SamplerServiceStub(channel))

        return uvloop.run(opened())

    async def tokens(self, stub: Stub, request: Request) -> list[int]:
        """The tokens of one stream."""
        return [token async for reply in self.stream(stub, request) for token in reply.ids]

    def stream(self, stub: Stub, request: Request) -> Any:
        """The stream of one request: the likeliest tokens, past the end of text."""
        return stub.GenerateStream(
            v1.GenerateStreamRequest(
                model=self._model,
                prompt_ids=TokenIds(ids=request["prompt"]),
                sampling=v1.Sampling(temperature=0.0),
                stopping=v1.Stopping(max_tokens=request["count"], ignore_eos=True),
            )
        )
