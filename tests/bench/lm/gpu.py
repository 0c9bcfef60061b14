"""One language model on a GPU in 16 bits: our engine beside Transformers, one request and many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tests.bench.children import HOME, Nursery, Peer, rounds
from tests.bench.lm.shapes import LARGE_LLAMA, Shape
from tests.bench.lm.workload import Workload, workload
from tests.bench.report import Report

OURS = Peer("ours, bf16", "lm_ours.py", ("auto", "cuda"))
GENERATE = Peer("Transformers, generate, bf16", "lm_transformers.py", ("generate", "cuda"))
BATCHING = Peer("Transformers, continuous batching, bf16", "lm_transformers.py", ("batching", "cuda"))
PEERS = (OURS, GENERATE, BATCHING)
"""All in our own environment: they share its PyTorch, and the GPU."""
CONCURRENT = {1: 4, 8: 1, 32: 1, 64: 1}
"""Groups of requests a round, by how many come at once."""
SCALE = 2.0
"""Times the usual tokens to write."""
_COPIED = 2**30
_COPIES = 20


def bench_gpu(nursery: Nursery, rounds_: int, report: Report, shape: Shape = LARGE_LLAMA) -> None:
    """Tokens a second of everyone. Without a GPU it says so."""
    if not torch.cuda.is_available():
        report.say("\n**gpu skipped:** PyTorch sees no CUDA device")
        return
    folder = shape.made(HOME / "lm")
    size = (folder / "model.safetensors").stat().st_size
    report.say(f"\n- {torch.cuda.get_device_name()}, {size / 1e9:.2f} GB of weights")
    bound = _bandwidth() / size
    with nursery.children(PEERS, folder, 1) as children:
        for child in children:
            report.say(f"- {child.name}: {child.versions}")
        for concurrency, groups in CONCURRENT.items():
            works = [workload(shape.vocabulary, concurrency, seed, groups, SCALE) for seed in range(rounds_)]
            for seed, work in enumerate(works):
                for child in children:
                    child.keep(f"{concurrency}/{seed}", work.groups)
            names = [f"{concurrency}/{seed}" for seed in range(rounds_)]
            _show(shape, works, rounds(children, names), bound, report)


def _show(
    shape: Shape, works: Sequence[Workload], measured: dict[str, np.ndarray], bound: float, report: Report
) -> None:
    work = works[0]
    speeds = {name: work.tokens / np.median(times, axis=0) for name, times in measured.items()}
    ours = speeds[OURS.name][0] if OURS.name in speeds else float("nan")
    report.table(
        f"{shape.title}, {work.concurrency} at once: {work.prompt_tokens} tokens to read, {work.tokens} to "
        f"write, medians of {len(works)} rounds",
        ("", "tokens/s", "tokens a CPU second", "ours / this"),
        [(name, f"{wall:,.0f}", f"{cpu:,.0f}", f"{ours / wall:.2f}") for name, (wall, cpu) in speeds.items()],
    )
    if work.concurrency == 1:
        report.say(f"- ours: {ours / bound:.2f} of what reading all weights once a token allows")
    others = [wall for name, (wall, _) in speeds.items() if name != OURS.name]
    if others:
        title = f"{shape.title}, {work.concurrency} at once: ours / best peer"
        report.least(title, ours / max(others), 1.0)


def _bandwidth() -> float:
    """Bytes a second that the GPU reads and writes in a large copy: the best of some."""
    source = torch.empty(_COPIED, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    event: Any = torch.cuda.Event  # untyped
    begin, end = event(enable_timing=True), event(enable_timing=True)
    taken: list[float] = []
    for _ in range(_COPIES):
        begin.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        taken.append(begin.elapsed_time(end) / 1e3)
    return 2 * _COPIED / min(taken)
