"""One sequence of a request: what it wants, the text it has so far, and when it is over."""

from __future__ import annotations

import enum
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from itertools import accumulate

from services.sampler.engine import Adapter, Finish, Form, Output, Position, Table
from services.sampler.ngrams.alphabet import Alphabet, Ids
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.sampling import Floats, Sampling


class Task(enum.Enum):
    """What a sequence is for."""

    GENERATE = "generate"
    SCORE = "score"
    TABLE = "table"


@dataclass(frozen=True)
class Stopping:
    """When generation ends; stops count once ``min_tokens`` symbols stand before them."""

    max_tokens: int
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    eos: frozenset[int] = frozenset()
    """The model's own tokens that end a text; empty when the request goes on past them."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a request wants of each of its sequences."""

    task: Task
    prompt: Ids
    ngram: NgramOptions | None = None
    """How an n-gram model is read; None for other models."""
    sampling: Sampling = field(default_factory=Sampling)
    stopping: Stopping = field(default_factory=lambda: Stopping(max_tokens=0))
    seed: int = 0
    logprobs: bool = False
    """Report each produced position."""
    likelihood: bool = True
    """Sum the log probabilities of what is produced; some engines are faster without."""
    prompt_logprobs: bool = False
    """Report each position of the prompt, or of the text to score."""
    top: int = 0
    """Alternatives to report at each position."""
    rows: int = 0
    """Rows of the table of next symbols."""
    form: Form | None = None
    """What the text must look like."""
    adapter: Adapter | None = None
    """What changes the model for it."""


class Sequence:
    """The state of one sequence. Only its engine touches it while it runs."""

    def __init__(self, plan: Plan, index: int, alphabet: Alphabet) -> None:
        """``index`` tells the sequences of a request apart: each draws from its own random stream."""
        self.plan = plan
        self.index = index
        self.read = 0
        """Prompt positions scored so far."""
        self.produced = 0
        self.finish: Finish | None = None
        self._alphabet = alphabet
        self._decoder = alphabet.decoder(plan.prompt)
        self._tail = _Tail()
        self._emitted = 0
        self._logprob = 0.0
        self._output = Output()

    @property
    def unread(self) -> int:
        """Prompt positions that are still to be scored."""
        wanted = self.plan.task is Task.SCORE or self.plan.prompt_logprobs
        return self.plan.prompt.size - self.read if wanted else 0

    @property
    def room(self) -> int:
        """Symbols that may still be produced."""
        return self.plan.stopping.max_tokens - self.produced

    def score(
        self, logprobs: Floats, impossible: int, count: int, positions: list[Position], unscored: int = 0
    ) -> None:
        """Take the scores of the next ``count`` prompt positions, of which ``unscored`` have none."""
        self.read += count
        self._output.scored += count - unscored
        self._output.impossible += impossible
        self._output.prompt_positions += positions
        if self.plan.task is Task.SCORE:
            self._add(logprobs)
            self.finish = None if self.unread else Finish.DONE

    def show(self, table: Table) -> None:
        """Take the table that was asked for."""
        self._output.table = table
        self.finish = Finish.DONE

    def end(self, finish: Finish) -> None:
        """End here, with all the text there is."""
        self._end(finish)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._output.error = error
        self.finish = Finish.DONE

    def accept(self, ids: list[int], logprobs: list[float], positions: list[Position]) -> None:
        """Take drawn symbols, at most ``room``; ``positions`` is empty unless asked for."""
        stop_at = self._stop_id(ids)
        kept = ids if stop_at is None else ids[:stop_at]
        self._tail.extend(kept, self._decoder.feed(kept), logprobs, positions)
        self.produced += len(kept)
        if self._match_stop():
            return
        if stop_at is not None:
            self._end(Finish.STOP, self._stop_text(ids[stop_at]))
        elif not self.room:
            self._end(Finish.LENGTH)
        else:
            self._emit(self._tail.certain(self.plan.stopping.stop))

    def take(self) -> Output:
        """What came since the last call."""
        output, self._output = self._output, Output()
        output.finish, output.logprob = self.finish, self._logprob
        return output

    def _stop_id(self, ids: list[int]) -> int | None:
        """Where in ``ids`` the first stop id that counts stands."""
        stops = self.plan.stopping.stop_ids | self.plan.stopping.eos
        if not stops:
            return None
        first = max(self.plan.stopping.min_tokens - self.produced, 0)
        return next((place for place in range(first, len(ids)) if ids[place] in stops), None)

    def _stop_text(self, stop_id: int) -> str:
        """What the caller is told of the id that ended it: nothing of the model's own."""
        asked = stop_id in self.plan.stopping.stop_ids
        return self._alphabet.piece(stop_id).decode(errors="replace") if asked else ""

    def _match_stop(self) -> bool:
        """End before the first stop string, if there is one."""
        stopping = self.plan.stopping
        if not stopping.stop:
            return False
        exempt = max(stopping.min_tokens - self._emitted, 0)
        match = first_stop(self._tail.text, stopping.stop, sum(map(len, self._tail.pieces[:exempt])))
        if match is None:
            return False
        begin, stop = match
        self._emit(self._tail.beginning_before(begin), begin)
        self._tail.clear()
        self._end(Finish.STOP, stop)
        return True

    def _end(self, finish: Finish, stop_matched: str = "") -> None:
        self._emit(len(self._tail.ids))
        self._output.stop_matched = stop_matched
        self.finish = finish

    def _emit(self, count: int, characters: int | None = None) -> None:
        """Move the tail's first ``count`` symbols to the output, cut to ``characters`` of text."""
        ids, pieces, logprobs, positions = self._tail.pop(count)
        self._output.text += "".join(pieces)[:characters]
        self._output.ids += ids
        self._add(logprobs)
        self._output.positions += positions
        self._emitted += count

    def _add(self, logprobs: Rows[float] | Floats) -> None:
        """Sum one by one, so that the total does not depend on how many come together."""
        for logprob in logprobs:
            self._logprob += float(logprob)


class _Tail:
    """Produced symbols whose text is not certain yet, because a stop string may have begun in it."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self.ids: list[int] = []
        self.pieces: list[str] = []
        self.logprobs: list[float] = []
        self.positions: list[Position] = []

    @property
    def text(self) -> str:
        """The symbols' text."""
        return "".join(self.pieces)

    def extend(
        self, ids: list[int], pieces: list[str], logprobs: list[float], positions: list[Position]
    ) -> None:
        """Append symbols; logprobs and positions beyond the ids are left out."""
        self.ids += ids
        self.pieces += pieces
        self.logprobs += logprobs[: len(ids)]
        self.positions += positions[: len(ids)]

    def pop(self, count: int) -> tuple[list[int], list[str], list[float], list[Position]]:
        """Take away the first ``count`` symbols."""
        first = self.ids[:count], self.pieces[:count], self.logprobs[:count], self.positions[:count]
        del self.ids[:count], self.pieces[:count], self.logprobs[:count], self.positions[:count]
        return first

    def certain(self, stops: Rows[str]) -> int:
        """How many symbols no stop string can reach back into."""
        if not stops:
            return len(self.ids)
        text = self.text
        end = len(text) - held_back(text, stops)
        return sum(1 for reached in accumulate(map(len, self.pieces)) if reached <= end)

    def beginning_before(self, character: int) -> int:
        """How many symbols begin before a character of the text."""
        begins = accumulate(map(len, self.pieces[:-1]), initial=0)
        return sum(1 for begin in begins if begin < character)


def first_stop(text: str, stops: Rows[str], begin: int) -> tuple[int, str] | None:
    """Where the stop string that is complete first begins, and which it is; the longest of equals.

    So the answer does not depend on how much text is looked at together.
    """
    found = [(place + len(stop), place, stop) for stop in stops if (place := text.find(stop, begin)) >= 0]
    if not found:
        return None
    _, place, stop = min(found)
    return place, stop


def held_back(text: str, stops: Rows[str]) -> int:
    """Characters at the end of ``text`` that could be the beginning of a stop string."""
    longest = 0
    for stop in stops:
        lengths = range(min(len(stop) - 1, len(text)), longest, -1)
        longest = next((k for k in lengths if text.endswith(stop[:k])), longest)
    return longest
