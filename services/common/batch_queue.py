"""The waiting items of a batcher and the choice of the next batch: plain data, no clock, no threads."""

from __future__ import annotations

import heapq
from asyncio import Future
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from services.common.errors import Code, Reason, ServiceError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Limits:
    """How batches are formed; a batch ends at whichever limit comes first."""

    max_rows: int = 32
    """Items in a batch."""
    max_queue: int = 1024
    """Items waiting; beyond it callers are refused."""
    max_wait: float = 0.0
    """Seconds the oldest item waits for company while a worker is free; 0: only while all are busy."""
    max_cost: float | None = None
    """Cost of a batch, for example a token budget; None: no budget."""
    oversized_alone: bool = False
    """An item that costs more than the budget makes a batch of its own; without it such items are refused."""
    padded: bool = False
    """Rows are padded to the dearest one: a batch costs rows times the largest cost, not the sum."""
    workers: int = 1
    """Batches that run at the same time."""

    def __post_init__(self) -> None:
        if min(self.max_rows, self.max_queue, self.workers) < 1 or self.max_wait < 0:
            raise ValueError(f"{self}: rows, queue and workers begin at 1, the wait at 0")
        if self.max_cost is not None and self.max_cost <= 0:
            raise ValueError(f"{self}: the cost budget must be above 0")

    def check_fit(self, name: str, costs: Sequence[float]) -> None:
        """INVALID_ARGUMENT for what would never fit, however long it waits."""
        dearest = max(costs, default=0.0)
        if len(costs) > self.max_queue:
            problem = f"{len(costs)} rows in one call, at most {self.max_queue}"
        elif self.max_cost is not None and dearest > self.max_cost and not self.oversized_alone:
            problem = f"a row of cost {dearest:g}, at most {self.max_cost:g}"
        else:
            return
        raise ServiceError(Code.INVALID_ARGUMENT, Reason.LIMIT_REACHED, f"{name}: {problem}")


@dataclass(eq=False, slots=True)
class Entry(Generic[Item]):
    """One waiting item. Times are seconds of ``time.monotonic``."""

    item: Item
    cost: float
    key: float
    """Where the item stands in the order that batches are chosen by."""
    queued_at: float
    deadline: float | None
    future: Future[Any]


class BatchQueue(Generic[Item]):
    """Waiting entries, oldest first; any of them leaves in constant time."""

    def __init__(self, limits: Limits, ordered: bool) -> None:
        self._limits = limits
        self._ordered = ordered
        self._entries: dict[Entry[Item], None] = {}
        self.cost = 0.0
        """Sum of the waiting items' costs."""

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry[Item]]:
        """Everything that waits, oldest first."""
        return list(self._entries)

    def add(self, entries: Iterable[Entry[Item]]) -> None:
        """Put entries at the end."""
        for entry in entries:
            self._entries[entry] = None
            self.cost += entry.cost

    def remove(self, entries: Iterable[Entry[Item]]) -> list[Entry[Item]]:
        """Take entries out wherever they stand; returns those that were still waiting."""
        removed = [entry for entry in entries if entry in self._entries]
        for entry in removed:
            del self._entries[entry]
            self.cost -= entry.cost
        if not self._entries:
            self.cost = 0.0  # float sums drift
        return removed

    def oldest(self) -> Entry[Item]:
        """The entry that waited longest; the queue must not be empty."""
        return next(iter(self._entries))

    def fills_a_batch(self) -> bool:
        """Whether what waits reaches a limit, so that waiting for more is useless."""
        budget = self._limits.max_cost
        return len(self) >= self._limits.max_rows or (budget is not None and self.cost >= budget)

    def take(self) -> list[Entry[Item]]:
        """Remove and return the next batch: the oldest entry, then its neighbours while they fit."""
        batch: list[Entry[Item]] = []
        total = largest = 0.0
        for entry in self._candidates():
            total, largest = total + entry.cost, max(largest, entry.cost)
            cost = largest * (len(batch) + 1) if self._limits.padded else total
            if batch and self._limits.max_cost is not None and cost > self._limits.max_cost:
                break
            batch.append(entry)
        return self.remove(batch)

    def _candidates(self) -> Iterable[Entry[Item]]:
        """The oldest entry first, so that nothing starves; at most ``max_rows``."""
        if not self._ordered:
            return islice(self._entries, self._limits.max_rows)
        anchor = self.oldest().key
        return heapq.nsmallest(
            self._limits.max_rows, self._entries, key=lambda entry: abs(entry.key - anchor)
        )
