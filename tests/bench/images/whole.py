"""Whole images: by the bare engine, by the service in a process of its own, through a running platform."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import grpc
import numpy as np

from pequod.diffusion import v1
from services.common.lora import Adapter
from services.diffusion.onnx.model import PixelModel
from services.diffusion.painting.painting import advance
from services.diffusion.planning import Plan
from tests.bench.children import HOME, Unavailable
from tests.bench.images.model import FAST, GUIDANCE, PROMPT, Opened, planned
from tests.bench.report import Report
from tests.e2e.conftest import free_ports

STEPS = 20
FAST_STEPS = (4, 8)
ENGINE_SECONDS, SERVICE_SECONDS, FAST_SECONDS = 0.4, 0.8, 0.15

_START_SECONDS = 180


class Service:
    """The diffusion service as ``pequod up`` starts it, ended with the block."""

    def __init__(self, models: Path) -> None:
        port, side_port = free_ports(2)
        self.target = f"127.0.0.1:{port}"
        self._ready = f"http://127.0.0.1:{side_port}/readyz"
        self._store = tempfile.TemporaryDirectory()
        environment = {
            "PEQUOD_DIFFUSION_PORT": str(port),
            "PEQUOD_DIFFUSION_SIDE_PORT": str(side_port),
            "PEQUOD_DIFFUSION_PRELOAD": "peeps-diffusion",
            "PEQUOD_MODELS": str(models),
            "PEQUOD_STORE": self._store.name,
            "PEQUOD_CACHE": str((HOME / "cache").resolve()),
        }
        self._log = HOME / "diffusion-service.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.diffusion"],
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

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready, timeout=2) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False


def bench_whole(opened: Sequence[Opened], platform: str, repeats: int, report: Report) -> None:
    """``opened`` with different threads; ``platform``: the gateway of a running one, or empty."""
    ways: dict[str, Callable[[], object]] = {}
    for store in opened:
        model, name = store.model(), f"bare engine, {store.threads} thread(s)"
        ways[f"{name}, {STEPS} steps with guidance"] = partial(paint, model, planned(model, STEPS))
        ways[f"{name}, {STEPS} steps without"] = partial(paint, model, planned(model, STEPS, 1.0))
        ways |= _fast(store, model, name)
    if not any(FAST in name for name in ways):
        report.say(f"\n**few steps skipped:** the store has no {FAST}")
    with Service(opened[0].settings.shipped) as service:
        targets = {"service alone": service.target} | ({"platform": platform} if platform else {})
        if not platform:
            report.say("\n**inside make run skipped:** no --platform host:port was given")
        for name, target in targets.items():
            ways[f"{name}, {STEPS} steps with guidance"] = partial(generated, target, GUIDANCE)
            ways[f"{name}, {STEPS} steps without"] = partial(generated, target, 1.0)
        taken = _interleaved(ways, repeats)
    rows = [(name, f"{np.median(wall):.3f}", f"{min(wall):.3f}", cpu) for name, (wall, cpu) in taken.items()]
    report.table(
        f"An image of 32 x 32 pixels, dpmpp_2m, seconds, {repeats} interleaved repeats",
        ("", "median", "least", "CPU, median"),
        rows,
    )
    for name, (wall, _) in taken.items():
        if (target := _target(name)) is not None:
            report.most(f"{name}, seconds", float(np.median(wall)), target)


def paint(model: PixelModel, plan: Plan, places: tuple[tuple[int, float], ...] = ()) -> None:
    """One image, from noise to picture."""
    painting = plan.starts[0](places)
    while not painting.is_finished:
        advance([painting], model.denoiser)
    assert painting.result is not None
    model.decode(painting.result)


def generated(target: str, guidance: float) -> None:
    """One image through gRPC, from the request to the last message."""
    request = v1.GenerateRequest(prompt=PROMPT, steps=STEPS, guidance_scale=guidance, seed=7)
    with grpc.insecure_channel(target) as channel:
        events = [each.WhichOneof("event") for each in v1.DiffusionServiceStub(channel).Generate(request)]
    assert events[-2:] == ["image", "done"], events


def _fast(store: Opened, model: PixelModel, name: str) -> dict[str, Callable[[], object]]:
    """Few steps with the distilled adapter, where there is one."""
    adapter: Adapter | None = store.adapter()
    if adapter is None:
        return {}
    model.adapters.check(adapter)
    place = model.adapters.take(adapter)
    assert place is not None, "it is the first one"
    return {
        f"{name}, {steps} steps with {FAST}": partial(
            paint, model, planned(model, steps, 1.0, "lcm", [(adapter, 1.0)]), ((place, 1.0),)
        )
        for steps in FAST_STEPS
    }


def _interleaved(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[list[float], str]]:
    """Wall seconds of every repeat, and the median of this process's CPU seconds where it does the work."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            if repeat:  # the first one warms up
                walls[name].append(time.perf_counter() - wall)
                cpus[name].append(time.process_time() - cpu)
    return {
        name: (walls[name], f"{np.median(cpus[name]):.3f}" if name.startswith("bare") else "")
        for name in ways
    }


def _target(name: str) -> float | None:
    if FAST in name:
        return FAST_SECONDS
    if not name.endswith("with guidance"):
        return None
    if name.startswith("bare engine"):
        return ENGINE_SECONDS if "2 thread" in name else None
    return SERVICE_SECONDS
