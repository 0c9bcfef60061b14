"""A UNet of Stable Diffusion 1.5's size with random weights: our step batching beside diffusers on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.common.cuda_graphs import recorder
from services.diffusion.engine import Question, Text
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox
from services.diffusion.painting.painting import Painting, advance
from services.diffusion.pipelines.parts.denoiser import TorchDenoiser
from services.diffusion.pipelines.parts.placing import Place
from services.diffusion.pipelines.stable_diffusion import ask_unet
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from tests.bench.report import Report

TARGET = 2.0
TOKENS = 77
GUIDANCE = 7.5
LEVELS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "linspace",
}


@dataclass(frozen=True)
class Case:
    """What is measured."""

    device: str = "cuda"
    dtype: torch.dtype = torch.float16
    places: int = 64
    steps: int = 20
    repeats: int = 2
    concurrent: tuple[int, ...] = (1, 2, 4, 8)
    """Requests at once."""
    text_width: int = 768
    compiled: bool = True
    unet: Mapping[str, Any] | None = None
    """Sizes of the UNet; None: those of Stable Diffusion 1.5, which are the defaults of its class but two."""


def bench_gpu(report: Report, case: Case | None = None) -> None:
    """Images a second at 1, 2, 4 and 8 requests at once. Without a GPU and a ``case`` it says so."""
    if case is None and not torch.cuda.is_available():
        report.say("\n**gpu skipped:** PyTorch sees no CUDA device")
        return
    case = case or Case()
    if case.device == "cuda":
        report.say(f"\n- {torch.cuda.get_device_name()}, torch {torch.__version__}, {case.dtype}")
    with torch.inference_mode():
        network = unet_of(case)
        batched, denoiser = _ours(network, case)
        report.say(f"- ours: calls of at most {denoiser.rows} rows, as the profile found")
        ways: dict[str, Callable[[int], object]] = {
            "ours, steps shared": batched,
            "diffusers, eager, one at a time": partial(_loop, network, case),
        }
        taken = _measured(ways, case, report)
        if not case.compiled:
            return
        # Last, for compiling takes its time: everything else is printed by then.
        since = time.perf_counter()
        compiled = torch.compile(network, mode="reduce-overhead" if case.device == "cuda" else "default")
        name = "diffusers, compiled, one at a time"
        taken |= _measured({name: partial(_loop, compiled, case)}, case, report)
        report.say(f"- compiling and measuring it took {time.perf_counter() - since:.0f} s")
    _judge(taken, report)


def unet_of(case: Case) -> Any:
    """The network, made where it runs."""
    import diffusers

    library: Any = diffusers  # typed only in part
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(case.dtype)
    try:
        with torch.device(case.device):
            sizes = case.unet or {"cross_attention_dim": case.text_width}
            network = library.UNet2DConditionModel(sample_size=case.places, **sizes)
    finally:
        torch.set_default_dtype(before)
    return network.eval().requires_grad_(False)


def _ours(network: Any, case: Case) -> tuple[Callable[[int], None], TorchDenoiser]:
    """Images of several requests whose steps are shared, as the service's loop does it."""
    place = Place(torch.device(case.device), case.dtype, rests=False, streams=False)
    record = recorder(place.device) if case.device == "cuda" else None
    denoiser = TorchDenoiser(partial(ask_unet, network), place, record=record)
    chance = np.random.default_rng(0)
    shape = (TOKENS, case.text_width)
    told, untold = (
        Text({"encoder_hidden_states": chance.standard_normal(shape, np.float32)}) for _ in range(2)
    )
    levels, scheduler = Levels.of_config(LEVELS), SCHEDULERS["dpmpp_2m"]
    path, latents = scheduler.path(levels, case.steps), (4, case.places, case.places)
    sample = chance.standard_normal(latents, np.float32)
    denoiser.measure(Question(sample, 500.0, told), 20.0, 0, False)

    def begin(seed: int) -> Painting:
        noise = philox(seed, latents)
        walk = scheduler.walk(levels, path, noise(START), noise)
        return Painting(walk, levels, case.steps, told, untold, Guidance(GUIDANCE))

    def paint(count: int) -> None:
        under_way = [begin(seed) for seed in range(count)]
        at_once = max(denoiser.rows // 2, 1)
        while under_way:
            advance(under_way[:at_once], denoiser)
            under_way = [each for each in under_way if not each.is_finished]

    return paint, denoiser


def _loop(network: Any, case: Case, count: int) -> None:
    """As diffusers' pipeline does it for one request after the other."""
    import diffusers

    library: Any = diffusers
    texts = torch.randn((2, TOKENS, case.text_width), device=case.device, dtype=case.dtype)
    for _ in range(count):
        scheduler = library.DPMSolverMultistepScheduler(**LEVELS)
        scheduler.set_timesteps(case.steps, device=case.device)
        latents = torch.randn((1, 4, case.places, case.places), device=case.device, dtype=case.dtype)
        for timestep in scheduler.timesteps:
            both = torch.cat([latents] * 2)
            said: Tensor = network(both, timestep, encoder_hidden_states=texts, return_dict=False)[0]
            untold, told = said.chunk(2)
            latents = scheduler.step(untold + GUIDANCE * (told - untold), timestep, latents).prev_sample
        latents.float().cpu()


def _measured(
    ways: Mapping[str, Callable[[int], object]], case: Case, report: Report
) -> dict[str, dict[int, float]]:
    """Images a second by requests at once; the best of interleaved repeats."""
    for way in ways.values():
        way(1)
    taken = {name: dict.fromkeys(case.concurrent, float("inf")) for name in ways}
    for _ in range(case.repeats):
        for count in case.concurrent:
            for name, way in ways.items():
                since = time.perf_counter()
                way(count)
                taken[name][count] = min(taken[name][count], time.perf_counter() - since)
    speeds = {name: {count: count / each for count, each in by.items()} for name, by in taken.items()}
    report.table(
        f"{8 * case.places} px, {case.steps} steps with guidance, images/s by requests at once",
        ("", *map(str, case.concurrent)),
        [(name, *(f"{each:.3g}" for each in by.values())) for name, by in speeds.items()],
    )
    return speeds


def _judge(speeds: Mapping[str, Mapping[int, float]], report: Report) -> None:
    ours, *others = speeds
    most = max(speeds[ours])
    for name in others:
        report.least(f"{most} at once: {ours} / {name}", speeds[ours][most] / speeds[name][most], TARGET)
