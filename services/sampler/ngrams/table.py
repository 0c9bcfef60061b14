"""The quick way to draw from a chain: rows of ready cumulative sums, made when a state is first met."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from typing import Any

import numpy as np

from services.sampler.ngrams.chain import Chain
from services.sampler.sampling import Sampling, candidates

ROWS = 20_000
"""A table that has more is emptied: rows are quick to make again, memory is not."""

Row = tuple[list[float], list[int], list[float], list[Any]]
"""Cumulative probabilities, symbols, natural log probabilities before any filter, and next states."""


class Table(dict[Hashable, Row]):
    """A chain under one sampling, state by state."""

    def __init__(self, chain: Chain[Any], sampling: Sampling) -> None:
        super().__init__()
        self._chain = chain
        self._sampling = sampling

    def __missing__(self, state: Any) -> Row:
        if len(self) >= ROWS:
            self.clear()
        following = self._chain.following(state)
        logits = np.log(following.probabilities)
        kept = candidates(following.symbols, logits, self._sampling)
        logprobs = logits[np.searchsorted(following.symbols, kept.ids)].tolist()
        self[state] = row = (kept.cumulative(), kept.ids.tolist(), logprobs, [None] * kept.ids.size)
        return row

    def draw(self, state: Any, uniforms: list[float]) -> tuple[list[int], list[float], Any]:
        """One symbol for each uniform number; returns symbols, log probabilities and the last state.

        The innermost loop of generation: everything it needs is a local name.
        """
        advance = self._chain.advance
        symbols_drawn: list[int] = []
        logprobs_drawn: list[float] = []
        for uniform in uniforms:
            cumulative, symbols, logprobs, states = self[state]
            place = bisect_right(cumulative, uniform)
            symbol = symbols[place]
            symbols_drawn.append(symbol)
            logprobs_drawn.append(logprobs[place])
            state_after = states[place]
            if state_after is None:
                state_after = states[place] = advance(state, symbol)
            state = state_after
        return symbols_drawn, logprobs_drawn, state
