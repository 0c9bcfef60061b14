"""The sampler service as one more worker of bench_lm: a process of its own, called by GenerateStream."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
import psutil
import uvloop

from pequod.common.v1 import TokenIds
from pequod.sampler import v1
from tests.bench.children import HOME, Unavailable
from tests.bench.lm.engine import CACHE
from tests.bench.lm.workload import Request
from tests.e2e.conftest import free_ports

Result = TypeVar("Result")
Stub = Any
"""A ``SamplerServiceStub`` over ``grpc.aio``, which its type stubs do not know."""

_START_SECONDS = 180


class Service:
    """A sampler that has one model in memory, ended with the block."""

    def __init__(self, name: str, folder: Path, threads: int, pace_ms: float | None = None) -> None:
        """``pace_ms`` is how long the tokens of a stream gather; None: the default."""
        self.name = name
        self._model = f"file:{folder}"
        port, side_port = free_ports(2)
        self._target = f"127.0.0.1:{port}"
        self._ready = f"http://127.0.0.1:{side_port}/readyz"
        self._store = tempfile.TemporaryDirectory()
        self._kept: dict[str, Sequence[Sequence[Request]]] = {}
        environment = {
            "PEQUOD_SAMPLER_PORT": str(port),
            "PEQUOD_SAMPLER_SIDE_PORT": str(side_port),
            "PEQUOD_SAMPLER_PRELOAD": self._model,
            "PEQUOD_FILE_ROOTS": str(folder.parent),
            "PEQUOD_CACHE": str(CACHE.resolve()),
            "PEQUOD_STORE": self._store.name,
        }
        if pace_ms is not None:
            environment["PEQUOD_SAMPLER_PACE_MS"] = str(pace_ms)
        self._log = HOME / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.lm.sampler", str(threads)],
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Service:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Unavailable(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._store.cleanup()

    def keep(self, name: str, groups: Sequence[Sequence[Request]]) -> None:
        """Remember a workload; see ``Child``."""
        self._kept[name] = groups

    def run(self, name: str) -> tuple[float, float]:
        """Wall seconds of a workload as the caller sees them, and CPU seconds of the service."""
        groups = self._kept[name]
        wall, cpu = time.perf_counter(), self._cpu()
        made = self.make(groups)
        wall, cpu = time.perf_counter() - wall, self._cpu() - cpu
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
            async with grpc.aio.insecure_channel(self._target) as channel:
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

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready, timeout=2) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def _cpu(self) -> float:
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)
