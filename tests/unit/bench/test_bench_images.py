"""The arithmetic of bench_images: arrivals, waits, and a clock that goes forward without waiting."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from services.diffusion.engine import Text
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox
from services.diffusion.painting.painting import Painting
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from tests.bench.images.arrivals import STEPS, Figures, begun, capacity, fewest_rows, poisson
from tests.bench.images.gpu import Case, bench_gpu
from tests.bench.images.servers import InTurn, Shared, painter, served
from tests.bench.images.virtual import Clock, TimedDenoiser, run
from tests.bench.report import Report

torch.set_num_threads(1)
SHAPE = (3, 4, 4)
LEVELS = Levels.of_config({})
TEXT = Text({"text": np.zeros((1, 1), np.float32)})
FLAT = dict.fromkeys(range(1, 9), 0.01)


def plan_of(steps):
    scheduler = SCHEDULERS["dpmpp_2m"]
    path = scheduler.path(LEVELS, steps)

    def start(places):
        noise = philox(1, SHAPE)
        walk = scheduler.walk(LEVELS, path, noise(START), noise)
        return Painting(walk, LEVELS, steps, TEXT, TEXT, Guidance(3.0), places)

    return SimpleNamespace(starts=[start], steps=steps, calls=steps, rows=2, shape=SHAPE)


PLANS = {steps: plan_of(steps) for steps in STEPS}


class Model:
    def __init__(self, clock, seconds, rows):
        self.name, self.adapters = "m", None
        self.denoiser = TimedDenoiser(clock, seconds, rows)


def in_turn(arrivals, seconds):
    clock = Clock()
    model = Model(clock, seconds, 2)
    return run(clock, served(lambda: InTurn(painter(model, PLANS)), arrivals))


def shared(arrivals, seconds, rows):
    clock = Clock()
    model = Model(clock, seconds, rows)
    return run(clock, served(lambda: Shared(model, PLANS), arrivals))


def test_a_seed_decides_arrivals_and_every_length_is_asked_for_as_often():
    first, again, other = poisson(40, 2.0, 1), poisson(40, 2.0, 1), poisson(40, 2.0, 2)
    np.testing.assert_array_equal(first.times, again.times)
    assert first.steps == again.steps
    assert not np.array_equal(first.times, other.times)
    assert sorted(first.steps) == sorted(other.steps) == sorted(STEPS * 10)
    assert np.all(np.diff(first.times) > 0)
    assert poisson(4000, 2.0, 1).times[-1] == pytest.approx(2000, rel=0.05)


def test_capacity_is_that_of_the_mean_request():
    assert capacity(0.025) == pytest.approx(2.0)


def test_one_at_a_time_waits_for_whoever_came_before():
    assert begun(np.array([0.0, 1.0, 9.0]), [2.0, 2.0, 2.0]).tolist() == [2.0, 4.0, 11.0]


def test_figures_count_from_arrival_to_end():
    arrivals = poisson(4, 1.0, 0)
    figures = Figures.of(arrivals, arrivals.times + np.array([1.0, 2.0, 3.0, 4.0]))
    assert figures.mean == pytest.approx(2.5)
    assert figures.p95 == pytest.approx(3.85)
    assert figures.throughput == pytest.approx(4 / (arrivals.times[-1] + 4.0 - arrivals.times[0]))
    assert Figures.median([Figures(1, 5, 1), Figures(2, 4, 1), Figures(9, 6, 3)]) == Figures(2, 5, 1)


def test_the_fewest_rows_near_the_best_are_taken():
    assert fewest_rows({1: 1.0, 2: 1.9, 4: 3.7, 8: 7.4}) == 2
    assert fewest_rows({1: 1.0, 2: 1.0, 4: 1.0}) == 4


def test_the_clock_serves_one_at_a_time_as_the_formula_says():
    arrivals = poisson(40, 0.9 * capacity(0.01), 3)
    expected = Figures.of(arrivals, begun(arrivals.times, [0.01 * steps for steps in arrivals.steps]))
    made = in_turn(arrivals, FLAT)
    assert (made.mean, made.p95, made.throughput) == pytest.approx(
        (expected.mean, expected.p95, expected.throughput), rel=1e-6
    )


def test_by_the_clock_shared_calls_of_a_flat_network_are_as_many_times_faster():
    arrivals = poisson(40, 1e6, 4)
    gain = shared(arrivals, FLAT, 8).throughput / in_turn(arrivals, FLAT).throughput
    assert 3.0 < gain <= 4.0


def test_by_the_clock_one_image_a_call_is_as_fast_as_one_at_a_time():
    arrivals = poisson(12, 1e6, 5)
    assert shared(arrivals, FLAT, 2).throughput == pytest.approx(in_turn(arrivals, FLAT).throughput)


def test_nobody_waits_for_ever():
    clock = Clock()

    async def stuck():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="everyone waits"):
        run(clock, stuck())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
def test_the_comparison_of_gpus_runs_through_on_a_small_network(capsys):
    sizes = {
        "block_out_channels": (32, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 8,
        "attention_head_dim": 4,
    }
    case = Case("cpu", torch.float32, 8, 2, 1, (1, 2), 8, compiled=False, unet=sizes)
    bench_gpu(Report(), case)
    assert "ours, steps shared" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    bench_gpu(Report())
    assert "skipped" in capsys.readouterr().out
