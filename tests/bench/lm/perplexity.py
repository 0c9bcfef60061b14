"""The part of bench_lm about quality: the perplexity of held-out text in 8 bits and in fp32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.finetune.recipes.language_model.chapters import split
from services.sampler.ngrams.alphabet import Ids
from services.sampler.sequence import Plan, Task
from tests.bench.lm.engine import opened, run
from tests.bench.report import Report

WINDOW = 512
"""Tokens that are scored together."""


def bench_perplexity(folder: Path, corpus: Path, windows: int, threads: int, report: Report) -> None:
    """Perplexity of a trained model, on chapters that no recipe learns from, spread over all books."""
    if not (folder / "config.json").exists():
        report.say(f"\n**perplexity is left out:** there is no trained model in {folder}")
        return
    held_out = split([book.read_text("utf-8") for book in sorted(corpus.glob("*_*.txt"))]).held_out
    if not held_out:
        report.say(f"\n**perplexity is left out:** there are no books in {corpus}")
        return
    perplexities: dict[str, float] = {}
    for precision in ("fp32", "int8"):
        engine = opened(folder, threads, precision)
        ids = engine.alphabet.encode("\n\n".join(held_out))
        outputs = [run(engine, [plan])[0] for plan in _plans(ids, windows)]
        scored = sum(output.scored for output in outputs)
        perplexities[precision] = math.exp(-sum(output.logprob for output in outputs) / scored)
        engine.close()
    title = f"Perplexity of {folder.parent.name}, {scored} tokens of held-out chapters of {corpus.name}"
    report.table(title, ("", "perplexity"), [(name, f"{each:.3f}") for name, each in perplexities.items()])
    report.most("perplexity, int8 / fp32", perplexities["int8"] / perplexities["fp32"], 1.01)


def _plans(ids: Ids, windows: int) -> Sequence[Plan]:
    """Windows at even distances."""
    count = min(windows, ids.size // WINDOW)
    starts = np.linspace(0, ids.size - WINDOW, count).astype(int)
    return [Plan(Task.SCORE, ids[start : start + WINDOW]) for start in starts]
