"""The engine of transformers: in a step every writer gets a token, and prompts are read in between.

What a sequence gets depends on its plan and index alone: prompts are cut at fixed places, the runner's
results know no neighbours, and one that lost its slot reads and writes the same again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

import numpy as np

from services.common.lora import Adapter
from services.sampler.engine import Figures, Finish, Inside, Output, Traits
from services.sampler.ngrams.alphabet import Alphabet, Ids
from services.sampler.sampling import History, uniforms
from services.sampler.sequence import Sequence, Task
from services.sampler.transformer import answers
from services.sampler.transformer.choice import choose, log_sum_of
from services.sampler.transformer.forms import Form, Matcher
from services.sampler.transformer.lora.places import NONE, Places
from services.sampler.transformer.prefixes import BLOCK, Prefixes, names_of
from services.sampler.transformer.runner import Inspector, Logits, Runner
from services.sampler.transformer.slots import Seat, Slots

_IDLE_SECONDS = 0.03
"""How long a step reads prompts when nobody waits for a token."""
_SHARE = 0.75
"""How long reading may take while somebody writes, as a share of the writers' step."""
AHEAD = 16 * BLOCK
"""Positions read together at most: more are no faster. So many may come beyond those there was room for."""
_SMOOTHING = 0.2
_NUMBERS = 64
"""Random numbers made at a time."""


@dataclass(eq=False)
class _Row:
    """Where a sequence stands."""

    sequence: Sequence
    ids: list[int]
    """The prompt, then what was written; all that is or will be in the cache."""
    prompt: int
    """How many of ``ids`` are read in pieces; the others are written one by one, also when written again."""
    history: History | None
    matcher: Matcher | None = None
    """Where the text stands in the form that it must have."""
    seat: Seat | None = None
    adapter: Adapter | None = None
    place: int = NONE
    """Where the runner has the adapter while there is a seat."""
    numbers: deque[float] = field(default_factory=deque)
    """The next ones of the sequence's random stream."""
    names: list[bytes] = field(default_factory=list)
    """Of the prompt's whole blocks, where they are or may be kept."""

    def number(self) -> float:
        """The uniform number that the next token falls on; greedy ones need none."""
        plan = self.sequence.plan
        if plan.sampling.temperature == 0.0:
            return 0.0
        if not self.numbers:
            count = min(_NUMBERS, self.sequence.room)
            self.numbers.extend(uniforms(plan.seed, self.sequence.index, self.sequence.produced, count))
        return self.numbers.popleft()

    @property
    def key(self) -> str:
        """Tells apart what the same tokens give with other weights."""
        return self.adapter.key if self.adapter else ""

    @property
    def is_reading(self) -> bool:
        """Whether a part of the prompt is not in the cache yet, and still wanted."""
        return self.sequence.finish is None and self.prompt > (self.seat.length if self.seat else 0)


@dataclass
class TransformerEngine:
    """Runs sequences of one model on one runner."""

    name: str
    alphabet: Alphabet
    traits: Traits
    runner: Runner
    positions: int
    """Positions that all slots together may fill."""
    prefixes: Prefixes
    inspector: Inspector
    adapters: Places
    joint: bool = True
    """Whether pieces read together give what they give one by one, to the bit."""
    clock: Callable[[], float] = time.perf_counter
    figures: Figures = field(default_factory=Figures)

    def __post_init__(self) -> None:
        self._rows: dict[Sequence, _Row] = {}
        self._slots = Slots(self.runner)
        self._piece_seconds = 0.005

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def step(self, sequences: Rows[Sequence]) -> list[Output]:
        """Give each writer a token, then read prompts for about as long; see ``Engine``."""
        rows = [self._row(sequence) for sequence in sequences]
        self._make_room(rows)
        started = self.clock()
        self._write()
        self._read(rows, self._reading_seconds(self.clock() - started))
        self._measure()
        return [sequence.take() for sequence in sequences]

    def release(self, sequence: Sequence) -> None:
        """Free the sequence's slot."""
        row = self._rows.pop(sequence, None)
        if row is not None:
            self._stand(row)
        self._measure()

    def inspect(self, ids: Ids, chosen: Ids, top: int) -> Inside:
        """What happens to a prompt inside; see ``Engine``."""
        return self.inspector.look(ids, chosen, top)

    def close(self) -> None:
        """Let go of the runner; no sequence is left."""
        self.runner.close()

    def _measure(self) -> None:
        self.figures.used_ratio = self._slots.positions / self.positions

    def _row(self, sequence: Sequence) -> _Row:
        row = self._rows.get(sequence)
        if row is None:
            plan = sequence.plan
            history = History(self.traits.vocabulary_size, plan.prompt) if plan.sampling.looks_back else None
            ids = plan.prompt.tolist()
            matcher = plan.form.start() if isinstance(plan.form, Form) else None
            adapter = plan.adapter if isinstance(plan.adapter, Adapter) else None
            row = _Row(sequence, ids, len(ids), history, matcher, adapter=adapter)
            self._rows[sequence] = row
        return row

    def _make_room(self, rows: list[_Row]) -> None:
        """Let those who came last go from a full cache, then seat who fits, in the order they came."""
        seated = [row for row in rows if row.seat is not None]
        while len(seated) > 1 and self._slots.positions + len(self._slots.writers) > self.positions:
            self._stand(seated.pop())
            self.figures.preemptions += 1
        places = True
        for row in rows:
            if row.seat is not None or (row.adapter and not places):
                continue
            if not self._has_room(row):
                break
            # Whoever waits for an adapter's place lets only those pass that need none.
            places = self._sit(row) and places

    def _has_room(self, row: _Row) -> bool:
        """Whether there are a slot and positions for a sequence, its next tokens and the writers'."""
        wanted = self._slots.positions + len(row.ids) + len(self._slots.writers) + 1
        return not self._slots.is_full and (not self._slots.taken or wanted <= self.positions)

    def _sit(self, row: _Row) -> bool:
        """Seat a sequence, with what is kept of its prompt; False while its adapter has no place."""
        try:
            place = self.adapters.take(row.adapter)
        except Exception as error:
            row.sequence.fail(error)
            return True
        if place is None:
            return False
        row.seat, row.place = self._slots.sit(), place
        self._name_blocks(row)
        self._reuse(row, row.seat)
        return True

    def _stand(self, row: _Row) -> None:
        if row.seat is not None:
            self._slots.leave(row.seat)
            self.adapters.leave(row.adapter)
            row.seat = None

    def _reuse(self, row: _Row, seat: Seat) -> None:
        """Copy the blocks that are kept of the prompt's beginning, up to its last one."""
        if row.sequence.unread:
            return  # each position's probabilities are wanted
        for block in self.prefixes.find(row.names[: _last_block(row.prompt) // BLOCK]):
            self.runner.restore(seat.slot, seat.length, block)
            seat.length += BLOCK
        self.figures.prefix_hits += seat.length

    def _write(self) -> None:
        """One step of all writers."""
        seats = self._slots.writers
        if not seats:
            return
        by_seat = {row.seat: row for row in self._rows.values() if row.seat is not None}
        rows = [by_seat[seat] for seat in seats]
        ids = np.array([row.ids[seat.length] for row, seat in zip(rows, seats, strict=True)], np.int64)
        logits = self.runner.write(ids, [seat.length for seat in seats], [row.place for row in rows])
        for seat in seats:
            seat.length += 1
        self._advance(rows, logits)

    def _reading_seconds(self, writing: float) -> float:
        """How long to read: one reader delays writers by a share of their step, many in proportion."""
        writers, readers = len(self._slots.writers), len(self._slots.readers)
        if not writers:
            return _IDLE_SECONDS
        return writing * max(_SHARE, readers / writers)

    def _read(self, rows: list[_Row], seconds: float) -> None:
        """Read prompts in the order they came, for about as long as may be spent; at least one piece."""
        pieces = max(1, min(int(seconds / self._piece_seconds), AHEAD // self.runner.piece))
        for row in rows:
            while pieces > 0 and row.seat is not None and row.is_reading:
                pieces -= self._read_pieces(row, row.seat, pieces)

    def _read_pieces(self, row: _Row, seat: Seat, pieces: int) -> int:
        """Read on in a prompt; returns how many pieces it had."""
        begin = seat.length
        end = min(begin + (pieces if self.joint else 1) * self.runner.piece, row.prompt)
        wanted = self._wanted_rows(row, begin, end)
        started = self.clock()
        try:
            ids = np.array(row.ids[begin:end], np.int64)
            logits = self.runner.read(seat.slot, begin, ids, wanted, row.place)
        except Exception as error:
            row.sequence.fail(error)
            return 1
        count = -(-(end - begin) // self.runner.piece)
        self._piece_seconds += _SMOOTHING * ((self.clock() - started) / count - self._piece_seconds)
        seat.length = end
        self._finish_pieces(row, seat, begin, logits)
        return count

    def _wanted_rows(self, row: _Row, begin: int, end: int) -> list[int]:
        """Rows of what is read whose logits matter: all that are to be scored, else the last one."""
        if row.sequence.unread:
            return list(range(end - begin))
        return [end - begin - 1]

    def _finish_pieces(self, row: _Row, seat: Seat, begin: int, logits: Logits) -> None:
        """Score what was read, keep its blocks, and go on to writing after the last piece."""
        sequence = row.sequence
        if sequence.unread:
            answers.score(sequence, row.ids, begin, logits)
        self._keep_blocks(row, seat, begin)
        if row.is_reading:
            return
        if sequence.plan.task is Task.TABLE:
            answers.show(sequence, logits[-1], row.history)
        if sequence.finish is not None:
            return
        self._slots.begin_writing(seat)
        if len(row.ids) == row.prompt:
            self._advance([row], logits[-1:])

    def _name_blocks(self, row: _Row) -> None:
        """Name the blocks of what is to be read; of a text that is only scored nothing is kept."""
        kept = self.prefixes.keeps_any and row.sequence.plan.task is not Task.SCORE
        row.names = names_of(np.array(row.ids[: row.prompt], np.int64), row.key) if kept else []

    def _keep_blocks(self, row: _Row, seat: Seat, begin: int) -> None:
        """Keep the blocks that are whole now: all of a long prompt's together would be felt."""
        for number in range(begin // BLOCK, min(seat.length // BLOCK, len(row.names))):
            if row.names[number] not in self.prefixes:
                self.prefixes.keep(row.names[number], self.runner.save(seat.slot, number * BLOCK, BLOCK))

    def _advance(self, rows: list[_Row], logits: Logits) -> None:
        """Choose the next token of every row that has written all it has."""
        for row, row_logits in zip(rows, logits, strict=True):
            assert row.seat is not None
            if row.seat.length < len(row.ids) or row.sequence.finish is not None:
                continue
            try:
                self._choose(row, row_logits)
            except Exception as error:
                row.sequence.fail(error)

    def _choose(self, row: _Row, logits: Logits) -> None:
        sequence, plan = row.sequence, row.sequence.plan
        number = row.number()
        allowed = answers.allowed(sequence, logits, row.matcher)
        if allowed is None:
            sequence.end(Finish.EXHAUSTED)
            return
        token = choose(allowed, plan.sampling, row.history, number)
        logprob, positions = 0.0, []
        if plan.likelihood or plan.logprobs:
            log_sum = log_sum_of(logits)
            logprob = float(logits[token]) - log_sum
            positions = [answers.position(token, logits, log_sum, plan.top)] if plan.logprobs else []
        sequence.accept([token], [logprob], positions)
        row.ids.append(token)
        if row.history is not None:
            row.history.add(token)
        if row.matcher is not None and sequence.finish is None:
            row.matcher.accept(token)
            if row.matcher.is_complete:
                sequence.end(Finish.STOP)
        if sequence.finish is None and len(row.ids) > self.runner.length:
            self._slide(row)

    def _slide(self, row: _Row) -> None:
        """Forget the older half of a full window and read the rest again, from position 0 on."""
        assert row.seat is not None
        row.ids = row.ids[-(self.runner.length // 2) :]
        row.prompt = len(row.ids)
        self._name_blocks(row)
        self._slots.stop_writing(row.seat)


def _last_block(total: int) -> int:
    """Where the last block of a prompt begins, whole or not: it is always read, for the logits after it."""
    return (total - 1) // BLOCK * BLOCK
