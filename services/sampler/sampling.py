"""How the next symbol is chosen: pure functions over logits, and random numbers that depend on nothing else.

The filters apply in one order: penalties, logit bias, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How one request wants its symbols drawn; the meanings and ranges stand in sampler.proto."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    @property
    def looks_back(self) -> bool:
        """Whether the choice depends on symbols that came before, beyond the model's context."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)


class History:
    """How often each symbol stands in one sequence's prompt and output."""

    def __init__(self, vocabulary_size: int, prompt: Ids) -> None:
        known = prompt[prompt >= 0]
        self.in_prompt = np.bincount(known, minlength=vocabulary_size) > 0
        self.produced = np.zeros(vocabulary_size, np.int64)

    def add(self, symbol: int) -> None:
        """Count one more symbol of output."""
        self.produced[symbol] += 1


@dataclass(frozen=True, eq=False, slots=True)
class Candidates:
    """What is left to draw from: ids ascend, probabilities are above 0 and sum to 1."""

    ids: Ids
    probabilities: Floats

    def cumulative(self) -> list[float]:
        """Running sums; the last is exactly 1, so that every uniform number in [0, 1) has its place."""
        sums = np.cumsum(self.probabilities)
        running: list[float] = (sums / sums[-1]).tolist()
        return running


def candidates(ids: Ids, logits: Floats, sampling: Sampling, history: History | None = None) -> Candidates:
    """Apply all of ``sampling`` to the logits of ``ids`` (ascending; those left out are impossible)."""
    if sampling.looks_back and history is not None:
        logits = penalised(ids, logits, sampling, history)
    if sampling.logit_bias:
        logits = biased(ids, logits, sampling.logit_bias)
    probabilities = tempered(logits, sampling.temperature)
    if sampling.top_k:
        probabilities = keep_top_k(probabilities, sampling.top_k)
    if sampling.top_p < 1.0:
        probabilities = keep_top_p(probabilities, sampling.top_p)
    if sampling.min_p > 0.0:
        probabilities = keep_min_p(probabilities, sampling.min_p)
    possible = probabilities > 0.0
    return Candidates(ids[possible], probabilities[possible])


def penalised(ids: Ids, logits: Floats, sampling: Sampling, history: History) -> Floats:
    """Repetition penalty (Keskar et al., CTRL, 2019), then presence and frequency penalties."""
    produced = history.produced[ids]
    seen = history.in_prompt[ids] | (produced > 0)
    factor = np.where(logits > 0, 1.0 / sampling.repetition_penalty, sampling.repetition_penalty)
    repeated: Floats = np.where(seen, logits * factor, logits)
    repeated -= sampling.presence_penalty * (produced > 0) + sampling.frequency_penalty * produced
    return repeated


def biased(ids: Ids, logits: Floats, logit_bias: Sequence[tuple[int, float]]) -> Floats:
    """Add each bias to its id's logit; an impossible symbol stays impossible."""
    changed = logits.copy()
    for symbol, bias in logit_bias:
        changed[ids == symbol] += bias
    return changed


def tempered(logits: Floats, temperature: float) -> Floats:
    """Softmax of logits / temperature; at 0 the likeliest alone, the lowest id among equals."""
    if temperature == 0.0:
        return _keep(np.ones_like(logits), np.array([np.argmax(logits)]))
    with np.errstate(over="ignore"):  # far below the largest logit: -inf, that is probability 0
        weights: Floats = np.exp((logits - logits.max()) / temperature)
    weights /= weights.sum()
    return weights


def keep_top_k(probabilities: Floats, k: int) -> Floats:
    """The k likeliest; among equals the lowest ids."""
    return _keep(probabilities, _likeliest_first(probabilities)[:k])


def keep_top_p(probabilities: Floats, p: float) -> Floats:
    """The smallest set of likeliest ones that together has at least probability p."""
    order = _likeliest_first(probabilities)
    reached = np.cumsum(probabilities[order]) >= p
    enough = int(np.argmax(reached)) + 1 if reached[-1] else order.size
    return _keep(probabilities, order[:enough])


def keep_min_p(probabilities: Floats, share: float) -> Floats:
    """Those with at least ``share`` of the likeliest one's probability."""
    return _keep(probabilities, np.flatnonzero(probabilities >= share * probabilities.max()))


def _likeliest_first(probabilities: Floats) -> Ids:
    return np.argsort(-probabilities, kind="stable")


def _keep(probabilities: Floats, places: Ids) -> Floats:
    kept = np.zeros_like(probabilities)
    kept[places] = probabilities[places]
    kept /= kept.sum()
    return kept


def uniforms(seed: int, sequence: int, start: int, count: int) -> list[float]:
    """Numbers start .. start + count - 1 of a sequence's own stream of uniforms in [0, 1).

    Philox (Salmon et al., 2011) computes any place of the stream from its number, so what a sequence
    draws depends on (seed, sequence, step) alone: not on its neighbours, nor on how steps are cut.
    """
    skipped = start % 4  # one counter value gives four numbers
    stream = np.random.Philox(key=np.array([seed, sequence], np.uint64), counter=start // 4)
    bits = stream.random_raw(skipped + count)[skipped:]
    numbers: list[float] = ((bits >> np.uint64(11)) * 2.0**-53).tolist()
    return numbers
