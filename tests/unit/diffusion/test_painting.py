"""Images that share calls: the same alone and in any company; guidance, masks, beginnings from a picture."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from services.diffusion.engine import Text
from services.diffusion.painting.editing import begin_from, keeping, late_steps
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, philox, torch_noise
from services.diffusion.painting.painting import Painting, advance
from services.diffusion.schedulers.levels import Levels, Prediction
from services.diffusion.schedulers.registry import SCHEDULERS

SHAPE = (3, 8, 8)
STEERED = Guidance(3.0)
LEVELS = Levels.of_config(
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": True}
)
VP = [name for name in SCHEDULERS if name != "flow_euler"]


class Network:
    """Depends on every input of a row and on nothing else; remembers how many rows its calls had."""

    def __init__(self, rows=4):
        self.rows = rows
        self.calls = []

    def predict(self, questions):
        self.calls.append(len(questions))
        return [self.said(each) for each in questions]

    @staticmethod
    def said(asked):
        told = asked.text.inputs["text"].mean()
        said = 0.3 * np.roll(asked.sample, 1, -1) + np.sin(asked.timestep / 200) * told
        return said.astype(np.float32)


def text(number):
    return Text({"text": np.full((2, 4), number / 10, np.float32)})


def painting(seed=1, steps=6, scheduler="ddim", guidance=STEERED, wrap=None, start=None):
    chosen = SCHEDULERS[scheduler]
    noise = philox(seed, SHAPE)
    path = chosen.path(LEVELS, steps)
    x = noise(START) * np.float32(path.start)
    if start is not None:
        path = late_steps(path, start[1])
        x = begin_from(start[0], path, noise(START))
    walk = chosen.walk(LEVELS, path, x, noise)
    walk = wrap(walk) if wrap else walk
    return Painting(walk, LEVELS, path.steps, text(seed % 7 + 1), text(0), guidance)


def finish(paintings, network):
    while unfinished := [each for each in paintings if not each.is_finished]:
        advance(unfinished, network)
    return [each.result for each in paintings]


@pytest.mark.parametrize("trace", range(5))
def test_the_same_alone_and_under_any_arrivals(trace):
    chance = random.Random(trace)
    kinds = [
        {"seed": chance.randrange(2**63), "steps": chance.randint(1, 12), "scheduler": chance.choice(VP)}
        | {"guidance": Guidance(chance.choice([1.0, 2.5, 7.0]), 0.0, chance.choice([0.5, 1.0]))}
        for _ in range(12)
    ]
    alone = [finish([painting(**kind)], Network())[0] for kind in kinds]
    waiting, running, made = list(enumerate(kinds)), [], {}
    network = Network(rows=5)
    while waiting or running:
        while waiting and (not running or chance.random() < 0.4):
            number, kind = waiting.pop(0)
            running.append((number, painting(**kind)))
        advance([each for _, each in running], network)
        made |= {number: each.result for number, each in running if each.is_finished}
        running = [(number, each) for number, each in running if not each.is_finished]
    for number, picture in enumerate(alone):
        np.testing.assert_array_equal(made[number], picture)
    assert max(network.calls) == 5


def test_without_guidance_a_step_is_one_row():
    network = Network()
    finish([painting(steps=10, guidance=Guidance(1.0))], network)
    assert network.calls == [1] * 10


def test_guidance_ends_where_it_is_told_to():
    network = Network()
    finish([painting(steps=10, guidance=Guidance(3.0, 0.2, 0.6))], network)
    assert network.calls == [1] * 2 + [2] * 4 + [1] * 4


def test_rescaled_guidance_has_the_contrast_of_the_text():
    chance = np.random.default_rng(0)
    told, untold = chance.standard_normal((2, *SHAPE)).astype(np.float32)
    assert Guidance(9.0, rescale=1.0).combine(told, untold).std() == pytest.approx(told.std(), rel=1e-4)
    assert Guidance(9.0).combine(told, untold).std() > 3 * told.std()


@pytest.mark.parametrize("scheduler", VP)
def test_pixels_outside_the_mask_come_back_unchanged(scheduler):
    picture = np.random.default_rng(3).uniform(-1, 1, SHAPE).astype(np.float32)
    mask = np.zeros((1, 8, 8), np.float32)
    mask[:, 2:5, 3:7] = 1
    wrap = lambda walk: keeping(walk, LEVELS, picture, mask)  # noqa: E731
    free, kept = painting(scheduler=scheduler), painting(scheduler=scheduler, wrap=wrap)
    whole, painted = finish([free, kept], Network())
    outside = np.broadcast_to(mask == 0, SHAPE)
    np.testing.assert_array_equal(painted[outside], picture[outside])
    assert np.abs(painted - picture)[~outside].mean() > 0.05
    assert not np.array_equal(whole, painted)


def test_the_less_strength_the_nearer_to_the_picture():
    picture = np.random.default_rng(3).uniform(-1, 1, SHAPE).astype(np.float32)
    far = [
        np.abs(finish([painting(steps=20, start=(picture, strength))], Network())[0] - picture).mean()
        for strength in (0.05, 0.3, 0.6, 1.0)
    ]
    assert far == sorted(far)


def test_noise_is_known_by_its_number():
    noise = philox(5, SHAPE)
    np.testing.assert_array_equal(noise(3), noise(3))
    drawn = [noise(0), noise(1), noise(START), philox(6, SHAPE)(0), philox(2**64 - 1, SHAPE)(0)]
    for place, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[place + 1 :])
    many = np.concatenate([noise(step).ravel() for step in range(200)])
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_noise_of_torch_is_what_a_pipeline_of_diffusers_draws():
    generator = torch.Generator("cpu").manual_seed(11)
    expected = [torch.randn((1, *SHAPE), generator=generator)[0].numpy() for _ in range(3)]
    noise = torch_noise(11, SHAPE)
    for step, each in zip((START, 0, 1), expected, strict=True):
        np.testing.assert_array_equal(noise(step), each)


@pytest.mark.parametrize("prediction", list(Prediction))
def test_what_is_said_and_what_is_seen_belong_together(prediction):
    chance = np.random.default_rng(1)
    clean, noise = chance.standard_normal((2, *SHAPE)).astype(np.float32)
    signal, share = (0.7, 0.3) if prediction is Prediction.FLOW else (0.8, 0.6)
    x = (signal * clean + share * noise).astype(np.float32)
    said = prediction.saying(x, clean, signal, share)
    np.testing.assert_allclose(prediction.clean(x, said, signal, share), clean, atol=1e-5)
    np.testing.assert_allclose(prediction.noise(x, said, signal, share), noise, atol=1e-5)
