"""Our engine as the sampler loads it, without scheduler and gRPC."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence as Rows
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from services.common.store import ModelVersion
from services.common.store.derived import derive
from services.sampler.engine import Output
from services.sampler.sampling import Sampling
from services.sampler.sequence import Plan, Sequence, Stopping, Task
from services.sampler.settings import SamplerSettings
from services.sampler.transformer.engine import TransformerEngine
from services.sampler.transformer.loading import Budget, load
from services.sampler.transformer.onnx.opening import Placement
from tests.bench.lm.workload import Request

CACHE = Path("var/bench/cache")


def opened(folder: Path, threads: int, precision: str, device: str = "cpu") -> TransformerEngine:
    """The engine of the directory ``folder``, with the service's own settings."""
    settings = SamplerSettings()
    placement = Placement(precision, threads, settings.slots, settings.context, device=device)
    budget = Budget(settings.cache_bytes, settings.prefix_bytes)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    # Its name is all that loading asks of a version.
    version = cast(ModelVersion, SimpleNamespace(name=folder.name))
    return load(version, folder, partial(derive, CACHE, digest), placement, budget)


def written(engine: TransformerEngine, requests: Rows[Request]) -> list[list[int]]:
    """The likeliest tokens of each request, past the end of text, all requests sharing steps."""
    plans = [
        Plan(
            Task.GENERATE,
            np.array(request["prompt"], np.int64),
            sampling=Sampling(0.0),
            stopping=Stopping(request["count"]),
            likelihood=False,  # as a stream that does not ask for log probabilities
        )
        for request in requests
    ]
    return [output.ids for output in run(engine, plans)]


def run(engine: TransformerEngine, plans: Rows[Plan]) -> list[Output]:
    """What each plan gives, all of them sharing steps."""
    sequences = [Sequence(plan, 0, engine.alphabet) for plan in plans]
    whole = {sequence: Output() for sequence in sequences}
    while sequences:
        for sequence, output in zip(sequences, engine.step(sequences), strict=True):
            if output.error is not None:
                raise output.error
            whole[sequence].add(output)
            if output.finish is not None:
                engine.release(sequence)
        sequences = [sequence for sequence in sequences if sequence.finish is None]
    return list(whole.values())
