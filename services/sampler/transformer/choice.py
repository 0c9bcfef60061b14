"""Chooses tokens from logits, with the meanings of ``services.sampler.sampling``, over few candidates.

Sorting a whole vocabulary takes longer than a step of a small model, so the filters work on the likeliest
tokens alone wherever these provably hold all that the filters keep.
"""

from __future__ import annotations

import numpy as np

from services.sampler.sampling import Floats, History, Ids, Sampling, biased, candidates, penalised
from services.sampler.transformer.runner import Logits

_FIRST_TRY = 256
"""Candidates that top-p is tried on first."""
_BLOCK = 128
"""Probabilities that are added up together, to find a place among all of them in two short searches."""
_MARGIN = 1e-3
"""Logits below min-p's edge that are still looked at, so that rounding decides nothing here."""


def choose(logits: Logits, sampling: Sampling, history: History | None, number: float) -> int:
    """The token of logits [vocabulary] that a uniform ``number`` in [0, 1) falls on."""
    logits = changed(logits, sampling, history)
    if sampling.temperature == 0.0:
        return int(np.argmax(logits))
    if sampling.top_k:
        ids = likeliest(logits, sampling.top_k)
        rest = Sampling(sampling.temperature, top_p=sampling.top_p, min_p=sampling.min_p)
    elif sampling.top_p < 1.0:
        ids = _nucleus(logits, sampling)
        rest = Sampling(sampling.temperature, min_p=sampling.min_p)
    elif sampling.min_p > 0.0:
        least = logits.max() + sampling.temperature * np.log(sampling.min_p)
        ids = np.flatnonzero(logits >= least - _MARGIN)
        rest = Sampling(sampling.temperature, min_p=sampling.min_p)
    else:
        return _anywhere(logits, sampling.temperature, number)
    kept = candidates(ids, logits[ids].astype(np.float64), rest)
    return int(kept.ids[np.searchsorted(kept.cumulative(), number, side="right")])


def changed(logits: Logits, sampling: Sampling, history: History | None) -> Logits:
    """Logits [vocabulary] after penalties and biases."""
    if history is not None:
        ids = np.arange(logits.size)
        logits = penalised(ids, logits.astype(np.float64), sampling, history).astype(np.float32)
    if sampling.logit_bias:
        ids = np.arange(logits.size)
        logits = biased(ids, logits.astype(np.float64), sampling.logit_bias).astype(np.float32)
    return logits


def log_sums(logits: Logits) -> Floats:
    """The logarithm of each row's sum of exponentials [rows]: a logit less this is a log probability."""
    highest = logits.max(axis=1)
    sums = np.exp(logits - highest[:, None]).sum(axis=1, dtype=np.float64)
    result: Floats = highest + np.log(sums)
    return result


def log_sum_of(logits: Logits) -> float:
    """The same of logits [vocabulary]."""
    return float(log_sums(logits[None])[0])


def likeliest(logits: Logits, count: int) -> Ids:
    """The ``count`` ids with the highest logits, ascending; among equals the lowest."""
    if count >= logits.size:
        return np.arange(logits.size)
    least = np.partition(logits, logits.size - count)[logits.size - count]
    above = np.flatnonzero(logits > least)
    equal = np.flatnonzero(logits == least)[: count - above.size]
    return np.sort(np.concatenate((above, equal)))


def _nucleus(logits: Logits, sampling: Sampling) -> Ids:
    """The smallest set of likeliest ids that has at least probability top_p, ascending."""
    weights = _weights(logits, sampling.temperature)
    wanted = sampling.top_p * float(weights.sum(dtype=np.float64))
    count = _FIRST_TRY
    while True:
        ids = likeliest(logits, count)
        order = ids[np.argsort(-weights[ids], kind="stable")]
        reached = np.cumsum(weights[order], dtype=np.float64) >= wanted
        if reached[-1]:
            return np.sort(order[: int(np.argmax(reached)) + 1])
        if count >= logits.size:
            return ids
        count *= _FIRST_TRY


def _anywhere(logits: Logits, temperature: float, number: float) -> int:
    """Draw from all tokens: first the block, then the place in it."""
    weights = _weights(logits, temperature)
    ends = np.cumsum(np.add.reduceat(weights, np.arange(0, weights.size, _BLOCK), dtype=np.float64))
    target = number * ends[-1]
    block = int(np.searchsorted(ends, target, side="right"))
    begin = block * _BLOCK
    within = np.cumsum(weights[begin : begin + _BLOCK], dtype=np.float64)
    place = int(np.searchsorted(within, target - (ends[block - 1] if block else 0.0), side="right"))
    last = int(np.flatnonzero(weights[begin : begin + _BLOCK])[-1])
    return begin + min(place, last)


def _weights(logits: Logits, temperature: float) -> Logits:
    weights: Logits = np.exp((logits - logits.max()) / np.float32(temperature))
    return weights
