"""Whole images: by the bare engine, by the service in a process of its own, through a running platform."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import grpc
import numpy as np

from pequod.diffusion import v1
from services.diffusion.onnx.model import PixelModel
from services.diffusion.painting.painting import advance
from services.diffusion.planning import Plan
from tests.bench.children import HOME
from tests.bench.images.model import GUIDANCE, MODEL, PROMPT, Opened, planned
from tests.bench.process import ServiceProcess
from tests.bench.report import Report

STEPS = 20
FEW = (4, 8)
"""Steps of the quick way: one row a step, without guidance."""
ENGINE_SECONDS, SERVICE_SECONDS, FEW_SECONDS = 0.4, 0.8, 0.15


def bench_whole(opened: Sequence[Opened], platform: str, repeats: int, report: Report) -> None:
    """``opened`` with different threads; ``platform``: the gateway of a running one, or empty."""
    ways: dict[str, Callable[[], object]] = {}
    for store in opened:
        model, name = store.model(), f"bare engine, {store.threads} thread(s)"
        ways[f"{name}, {STEPS} steps with guidance"] = partial(paint, model, planned(model, STEPS))
        ways[f"{name}, {STEPS} steps without"] = partial(paint, model, planned(model, STEPS, 1.0))
        for steps in FEW:
            few = partial(paint, model, planned(model, steps, 1.0, "lcm"))
            ways[f"{name}, {steps} steps of lcm"] = few
    environment = {
        "PEQUOD_DIFFUSION_PRELOAD": MODEL,
        "PEQUOD_MODELS": str(opened[0].settings.shipped),
        "PEQUOD_CACHE": str((HOME / "cache").resolve()),
    }
    with ServiceProcess("diffusion", ["services.diffusion"], environment) as service:
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


def paint(model: PixelModel, plan: Plan) -> None:
    """One image, from noise to picture."""
    painting = plan.starts[0](())
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
    if name.startswith("bare engine") and "2 thread" not in name:
        return None
    if name.endswith(f"{FEW[0]} steps of lcm"):
        return FEW_SECONDS
    if not name.endswith("with guidance"):
        return None
    return ENGINE_SECONDS if name.startswith("bare engine") else SERVICE_SECONDS
