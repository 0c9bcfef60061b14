"""Requests as anyone may send them, and an engine that runs them as they come."""

from __future__ import annotations

import random

import numpy as np

from services.sampler.engine import Output
from services.sampler.sampling import Sampling
from services.sampler.sequence import Plan, Sequence, Stopping, Task
from tests.unit.sampler import language_models as tiny


def prompt(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, length)).integers(1, tiny.VOCABULARY, length)


def greedy(length: int, count: int = 40) -> Plan:
    return Plan(Task.GENERATE, prompt(length), sampling=Sampling(0.0), stopping=Stopping(count))


def run(engine, plans: list[Plan], arrivals: list[int] | None = None) -> list[Output]:
    """Each plan's whole output; plan k joins at step ``arrivals[k]``."""
    sequences = [Sequence(plan, 0, engine.alphabet) for plan in plans]
    whole = [Output() for _ in plans]
    joins = arrivals or [0] * len(plans)
    step, running, left = 0, [], set(range(len(plans)))
    while left:
        running += [k for k in sorted(left) if joins[k] == step]
        for k, output in zip(list(running), engine.step([sequences[k] for k in running]), strict=True):
            assert output.error is None, output.error
            whole[k].add(output)
            if output.finish is not None:
                engine.release(sequences[k])
                running.remove(k)
                left.remove(k)
        step += 1
    return whole


def random_plan(chance: random.Random) -> Plan:
    """A request as anyone may send it."""
    sampling = Sampling(
        temperature=chance.choice([0.0, 0.7, 1.0, 1.5]),
        top_k=chance.choice([0, 0, 20]),
        top_p=chance.choice([1.0, 0.9]),
        min_p=chance.choice([0.0, 0.05]),
        repetition_penalty=chance.choice([1.0, 1.2]),
        frequency_penalty=chance.choice([0.0, 0.5]),
        logit_bias=chance.choice([(), ((7, 2.0),)]),
    )
    return Plan(
        Task.GENERATE,
        prompt(chance.randint(1, 120), chance.randint(0, 3)),
        sampling=sampling,
        stopping=Stopping(chance.randint(1, 40), eos=frozenset({0})),
        seed=chance.getrandbits(40),
        logprobs=True,
        top=chance.choice([0, 3]),
    )
