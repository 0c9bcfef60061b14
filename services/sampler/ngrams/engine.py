"""The engine of n-gram models: in a step the sequences draw in turn, block by block, for a few ms."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.errors import unsupported
from services.sampler.engine import Alternative, Figures, Inside, Output, Position, TableRow, Traits
from services.sampler.engine import Table as NextTable
from services.sampler.ngrams.alphabet import Ids
from services.sampler.ngrams.chain import Chain, Following, NgramModel, NgramOptions
from services.sampler.ngrams.table import Table
from services.sampler.sampling import History, Sampling, candidates, uniforms
from services.sampler.sequence import Sequence, Task

STEP_SECONDS = 0.002
_TABLES = 8
_QUICKER = 8
"""How much cheaper a position is to score than to draw, and to draw than to give with its distribution."""


@dataclass
class _Cursor:
    """Where a sequence stands in its chain."""

    options: NgramOptions
    chain: Chain[Any]
    state: Any
    history: History | None


class NgramEngine:
    """Draws from one n-gram model. A sequence's text depends on its plan and index alone."""

    def __init__(self, name: str, model: NgramModel, clock: Callable[[], float] = time.perf_counter) -> None:
        self.name = name
        self.alphabet = model.alphabet
        self.traits = Traits(model.alphabet.size, model.order, model.smoothings)
        self.figures = Figures()
        self._model = model
        self._clock = clock
        self._cursors: dict[Sequence, _Cursor] = {}
        self._tables: OrderedDict[tuple[NgramOptions, Sampling], Table] = OrderedDict()

    def step(self, sequences: Rows[Sequence]) -> list[Output]:
        """Give every sequence one turn, and more in rotation while the step's time lasts."""
        deadline = self._clock() + STEP_SECONDS
        turns = deque(sequences)
        while turns:
            sequence = turns.popleft()
            self._turn(sequence)
            if sequence.finish is None and self._clock() < deadline:
                turns.append(sequence)
        return [sequence.take() for sequence in sequences]

    def release(self, sequence: Sequence) -> None:
        """Forget where the sequence stood."""
        self._cursors.pop(sequence, None)

    def inspect(self, ids: Ids, chosen: Ids, top: int) -> Inside:
        """Refused."""
        raise unsupported(f"model {self.name!r} is an n-gram model: it has no embedding or layers to inspect")

    def _turn(self, sequence: Sequence) -> None:
        try:
            if sequence.unread or sequence.plan.task is Task.SCORE:
                self._read(sequence)
            elif sequence.plan.task is Task.TABLE:
                self._show(sequence)
            else:
                self._write(sequence)
        except Exception as error:
            sequence.fail(error)

    def _read(self, sequence: Sequence) -> None:
        """Score the next part of the prompt."""
        plan, begin = sequence.plan, sequence.read
        chain = self._cursor(sequence).chain
        block = self._model.block // _QUICKER if plan.top else self._model.block * _QUICKER
        end = begin + min(sequence.unread, block)
        scores = chain.score(plan.prompt, begin, end)
        with np.errstate(divide="ignore"):
            logprobs = np.log(scores.probabilities)
        positions: list[Position] = []
        if plan.prompt_logprobs:
            tops = self._alternatives(chain, plan.prompt, begin, end, plan.top)
            columns = (plan.prompt[begin:end].tolist(), logprobs.tolist(), scores.contexts_used.tolist())
            positions = [Position(*cells) for cells in zip(*columns, tops, strict=True)]
        impossible = int(np.count_nonzero(scores.probabilities == 0))
        sequence.score(logprobs, impossible, end - begin, positions)

    def _write(self, sequence: Sequence) -> None:
        """Draw the next block."""
        plan, cursor = sequence.plan, self._cursor(sequence)
        one_by_one = plan.logprobs or plan.sampling.looks_back
        block = self._model.block // _QUICKER if one_by_one else self._model.block
        count = min(block, sequence.room)
        numbers = uniforms(plan.seed, sequence.index, sequence.produced, count)
        before = cursor.state
        if cursor.history is None:
            table = self._table(cursor.options, plan.sampling, cursor.chain)
            ids, logprobs, cursor.state = table.draw(cursor.state, numbers)
        else:
            ids, logprobs = self._draw_looking_back(cursor, plan.sampling, cursor.history, numbers)
        positions = self._positions(cursor.chain, before, ids, logprobs, plan.top) if plan.logprobs else []
        sequence.accept(ids, logprobs, positions)

    def _show(self, sequence: Sequence) -> None:
        """The table of what may come next."""
        plan, cursor = sequence.plan, self._cursor(sequence)
        following = cursor.chain.following(cursor.state)
        logits = np.log(following.probabilities)
        kept = candidates(following.symbols, logits, plan.sampling, cursor.history)
        likeliest = np.argsort(-kept.probabilities, kind="stable")[: plan.rows]
        places = np.searchsorted(following.symbols, kept.ids[likeliest])
        columns = (
            kept.ids[likeliest],
            kept.probabilities[likeliest],
            logits[places],
            following.counts[places],
        )
        rows = [TableRow(*cells) for cells in zip(*(column.tolist() for column in columns), strict=True)]
        entropy = float(kept.probabilities @ -np.log2(kept.probabilities))
        sequence.show(
            NextTable(
                rows,
                candidates=kept.ids.size,
                entropy_bits=abs(entropy),  # of one candidate: 0, and not -0
                context_used=following.context_used,
                context_count=following.context_count,
            )
        )

    def _cursor(self, sequence: Sequence) -> _Cursor:
        if sequence not in self._cursors:
            plan = sequence.plan
            options = plan.ngram or NgramOptions(self._model.order or 1)
            chain = self._model.chain(options)
            looks_back = plan.sampling.looks_back
            history = History(self.alphabet.size, plan.prompt) if looks_back else None
            self._cursors[sequence] = _Cursor(options, chain, chain.start(plan.prompt), history)
        return self._cursors[sequence]

    def _table(self, options: NgramOptions, sampling: Sampling, chain: Chain[Any]) -> Table:
        """The table of these settings; those least recently used make room."""
        key = (options, sampling)
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table(chain, sampling)
            if len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(key)
        return table

    def _draw_looking_back(
        self, cursor: _Cursor, sampling: Sampling, history: History, numbers: list[float]
    ) -> tuple[list[int], list[float]]:
        """Draw with penalties: every choice changes the next distribution, so nothing can be kept ready."""
        ids: list[int] = []
        logprobs: list[float] = []
        for number in numbers:
            following = cursor.chain.following(cursor.state)
            logits = np.log(following.probabilities)
            kept = candidates(following.symbols, logits, sampling, history)
            symbol = int(kept.ids[np.searchsorted(kept.cumulative(), number, side="right")])
            ids.append(symbol)
            logprobs.append(float(logits[np.searchsorted(following.symbols, symbol)]))
            history.add(symbol)
            cursor.state = cursor.chain.advance(cursor.state, symbol)
        return ids, logprobs

    def _positions(
        self, chain: Chain[Any], state: Any, ids: list[int], logprobs: list[float], top: int
    ) -> list[Position]:
        """Walk the drawn symbols again for what was asked about each position."""
        positions = []
        for symbol, logprob in zip(ids, logprobs, strict=True):
            following = chain.following(state)
            alternatives = _likeliest(following, top)
            positions.append(Position(symbol, logprob, following.context_used, alternatives))
            state = chain.advance(state, symbol)
        return positions

    def _alternatives(
        self, chain: Chain[Any], ids: Ids, begin: int, end: int, top: int
    ) -> list[list[Alternative]]:
        """The likeliest symbols at each of the positions."""
        if not top:
            return [[]] * (end - begin)
        state = chain.start(ids[:begin])
        tops = []
        for place in range(begin, end):
            tops.append(_likeliest(chain.following(state), top))
            symbol = int(ids[place])
            state = chain.advance(state, symbol) if symbol >= 0 else chain.start(ids[:0])
        return tops


def _likeliest(following: Following, top: int) -> list[Alternative]:
    order = np.argsort(-following.probabilities, kind="stable")[:top]
    chosen = zip(following.symbols[order].tolist(), following.probabilities[order].tolist(), strict=True)
    return [Alternative(symbol, math.log(probability)) for symbol, probability in chosen]
