"""The service in a process of its own behind a gateway in another: what sixteen callers get, and one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import grpc.aio
import numpy as np
import psutil

from pequod.gan import v1
from services.common.catalogue import SERVICES
from services.common.pictures.writing import Format, write
from services.common.threads import threads_for
from services.gan.latent.drawing import noise_of
from services.gan.planning import Setting, seeded
from services.gan.requests import usual
from tests.bench.children import HOME, Unavailable
from tests.bench.gan.model import CACHE, CONFIGS, LARGE, STORE, opened
from tests.bench.report import Report
from tests.ports import lasting_ports

CALLERS, SINGLE_TARGET_MS = 16, 15.0
ROWS = 8
_START_SECONDS = 180


@dataclass(frozen=True)
class Running:
    """Both processes."""

    service: str
    gateway: str
    process: psutil.Process
    """The service's."""


@contextlib.contextmanager
def running() -> Iterator[Running]:
    """The GAN service and a gateway, as ``pequod up`` starts them; the other services are not there."""
    ports = lasting_ports(5)
    names = ("GAN_PORT", "GAN_SIDE_PORT", "GATEWAY_PORT", "GATEWAY_HTTP_PORT", "GATEWAY_ADMIN_PORT")
    environment = {f"PEQUOD_{name}": str(port) for name, port in zip(names, ports, strict=True)}
    environment |= {
        "PEQUOD_GAN_BACKENDS": f"127.0.0.1:{ports[0]}",
        "PEQUOD_GAN_PRELOAD": LARGE,
        "PEQUOD_MODELS": str(STORE.resolve()),
        "PEQUOD_STORE": str((HOME / "none").resolve()),
        "PEQUOD_CACHE": str(CACHE.resolve()),
    }
    children = []
    try:
        for module in ("services.gan", "gateway"):
            log = HOME / f"{module}.log"
            with log.open("wb") as file:
                child = subprocess.Popen(
                    [sys.executable, "-m", module],
                    env={**os.environ, **environment},
                    stdout=file,
                    stderr=file,
                )
            children.append(child)
        _wait(f"http://127.0.0.1:{ports[1]}/readyz", children[0])
        target = f"127.0.0.1:{ports[2]}"
        asyncio.run(_first(target))
        yield Running(f"127.0.0.1:{ports[0]}", target, psutil.Process(children[0].pid))
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(60)


def bench_service(rounds: int, seconds: float, calls: int, report: Report) -> None:
    """Tables of both beside the bare engine, in turns, with what an image costs on its way."""
    threads = threads_for(len(SERVICES))
    engine = Engine(threads)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ("bare engine", "service", "gateway")}
    with running() as both:
        targets = {"service": both.service, "gateway": both.gateway}
        for _ in range(rounds):
            taken["bare engine"].append(engine.run(seconds))
            for name, target in targets.items():
                taken[name].append(asyncio.run(_crowd(target, seconds, both.process)))
        singles = asyncio.run(_alone(targets, calls))
    medians = {name: np.median(figures, axis=0) for name, figures in taken.items()}
    bare_rate, bare_cpu = medians["bare engine"]
    report.table(
        f"{CONFIGS[LARGE].size} px, PNG, {CALLERS} callers of one image each, {threads} thread(s) a call, "
        f"medians of {rounds} rounds of {seconds:g} s",
        ("", "images/s", "share kept", "CPU ms an image", "share by CPU"),
        [
            (name, f"{rate:.0f}", f"{rate / bare_rate:.2f}", f"{cpu * 1e3:.2f}", f"{bare_cpu / cpu:.2f}")
            for name, (rate, cpu) in medians.items()
        ],
    )
    numbers, png = engine.parts()
    rest = (medians["service"][1] - bare_cpu) * 1e3 - png
    report.table(
        "Where the service's CPU time for an image goes, ms",
        ("engine", "of that numbers of the seed", "PNG", "calls, queue, replies"),
        [tuple(f"{each:.2f}" for each in (bare_cpu * 1e3, numbers, png, rest))],
    )
    lines = [
        (name, *(f"{each:.1f}" for each in np.percentile(times, (50, 90, 99))))
        for name, times in singles.items()
    ]
    report.table(f"One caller, one image, ms, {calls} calls", ("through", "p50", "p90", "p99"), lines)
    median = float(np.median(singles["gateway"]))
    report.most("one image through the gateway, p50, ms", median, SINGLE_TARGET_MS)


class Engine:
    """The bare engine in this process."""

    def __init__(self, threads: int) -> None:
        self._model = opened(LARGE, threads, ROWS)
        setting = Setting.of(self._model.traits, usual())
        self._setting = setting
        self._drafts = [setting.single(seeded(seed)) for seed in range(ROWS)]
        self._drawn = self._model.draw(self._drafts)

    def run(self, seconds: float) -> tuple[float, float]:
        """Images a second, and CPU seconds of one."""
        made, since, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - since < seconds:
            self._drawn = self._model.draw(self._drafts)
            made += ROWS
        return made / (time.perf_counter() - since), (time.process_time() - cpu) / made

    def parts(self) -> tuple[float, float]:
        """CPU milliseconds of one image's numbers and of its PNG."""
        places = self._model.traits.places
        cpu = time.process_time()
        for seed in range(100):
            self._setting.single(seeded(seed))
            noise_of(seed, places, 1.0)
        numbers = (time.process_time() - cpu) * 10
        cpu = time.process_time()
        for _ in range(20):
            for each in self._drawn:
                write(each.picture, Format.PNG)
        return numbers, (time.process_time() - cpu) / (20 * ROWS) * 1e3


async def _crowd(target: str, seconds: float, process: psutil.Process) -> tuple[float, float]:
    """Images a second, and CPU seconds of the service's process for one."""
    end = time.perf_counter() + seconds
    async with grpc.aio.insecure_channel(target) as channel:
        stub = v1.GanServiceStub(channel)

        async def caller(number: int) -> int:
            made = 0
            while time.perf_counter() < end:
                await stub.Sample(v1.SampleRequest(model=LARGE, seeds=[number * 10**6 + made]))
                made += 1
            return made

        await stub.Sample(v1.SampleRequest(model=LARGE, n=ROWS))
        before, since = process.cpu_times(), time.perf_counter()
        made = sum(await asyncio.gather(*map(caller, range(CALLERS))))
        wall, after = time.perf_counter() - since, process.cpu_times()
    return made / wall, (after.user + after.system - before.user - before.system) / made


async def _alone(targets: Mapping[str, str], calls: int) -> dict[str, list[float]]:
    """Milliseconds of one call after the other, through each in turn."""
    taken: dict[str, list[float]] = {name: [] for name in targets}
    async with contextlib.AsyncExitStack() as stack:
        stubs = {
            name: v1.GanServiceStub(await stack.enter_async_context(grpc.aio.insecure_channel(target)))
            for name, target in targets.items()
        }
        for seed in range(calls):
            for name, stub in stubs.items():
                since = time.perf_counter()
                await stub.Sample(v1.SampleRequest(model=LARGE, seeds=[seed]))
                taken[name].append((time.perf_counter() - since) * 1e3)
    return taken


async def _first(target: str) -> None:
    """Wait until the gateway lets a call through."""
    async with grpc.aio.insecure_channel(target) as channel:
        request = v1.SampleRequest(model=LARGE, n=1)
        await v1.GanServiceStub(channel).Sample(request, wait_for_ready=True, timeout=60)


def _wait(url: str, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as reply:
            if reply.status == 200:
                return
        if child.poll() is not None or time.monotonic() > deadline:
            raise Unavailable((HOME / "services.gan.log").read_text(errors="replace")[-2000:])
        time.sleep(0.1)
