"""A queue that is fair between tenants: deficit round-robin within three classes of priority.

Deficit round-robin: Shreedhar and Varghese, "Efficient fair queueing using deficit round robin" (1995).
Classes share by weight in virtual time, so that low ones are slowed and never starved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.principal import Priority

T = TypeVar("T")

WEIGHTS = {Priority.HIGH: 16.0, Priority.NORMAL: 4.0, Priority.LOW: 1.0}
"""Shares of the classes while all of them have calls waiting."""
QUANTUM = 1.0
"""What a tenant may use in one turn: an average call."""
_CHEAPEST, _DEAREST = 0.01, 100.0
"""Bounds of a cost, so that no turn is endless and none is free."""


@dataclass
class _Flow(Generic[T]):
    """What one tenant has waiting in one class, each with its cost."""

    items: deque[tuple[T, float]] = field(default_factory=deque)
    deficit: float = 0.0


class _Class(Generic[T]):
    """Tenants in turn; what a turn leaves unused is kept for the next."""

    def __init__(self) -> None:
        self.flows: dict[str, _Flow[T]] = {}
        self.used = 0.0
        self._turns: deque[str] = deque()
        self._granted = False
        """Whether the tenant whose turn it is has got its quantum."""

    def push(self, item: T, flow: str, cost: float) -> None:
        if flow not in self.flows:
            self.flows[flow] = _Flow()
            self._turns.append(flow)
        self.flows[flow].items.append((item, cost))

    def pop(self) -> tuple[T, float]:
        """The next item and its cost. There must be one."""
        while True:
            name = self._turns[0]
            flow = self.flows[name]
            if not self._granted:
                flow.deficit += QUANTUM
                self._granted = True
            item, cost = flow.items[0]
            if cost <= flow.deficit:
                flow.items.popleft()
                flow.deficit -= cost
                if not flow.items:
                    self._end_turn(name)
                return item, cost
            self._turns.rotate(-1)
            self._granted = False

    def remove(self, item: T) -> bool:
        for name, flow in self.flows.items():
            for entry in flow.items:
                if entry[0] is item:
                    flow.items.remove(entry)
                    if not flow.items:
                        self._end_turn(name)
                    return True
        return False

    def _end_turn(self, name: str) -> None:
        """Who has nothing waiting keeps no deficit."""
        if self._turns[0] == name:
            self._granted = False
        self._turns.remove(name)
        del self.flows[name]


class FairQueue(Generic[T]):
    """Items by class and flow (the tenant)."""

    def __init__(self) -> None:
        self._classes: dict[Priority, _Class[T]] = {priority: _Class() for priority in Priority}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, item: T, flow: str, priority: Priority, cost: float) -> None:
        """``cost``: what serving it takes, an average call being 1."""
        chosen = self._classes[priority]
        if not chosen.flows:
            # Who comes back after a pause has no claim on the time before.
            busy = [each.used for each in self._classes.values() if each.flows]
            chosen.used = max(chosen.used, min(busy, default=chosen.used))
        chosen.push(item, flow, min(max(cost, _CHEAPEST), _DEAREST))
        self._size += 1

    def pop(self) -> T:
        """The next one. Raises IndexError when there is none."""
        waiting = [(each.used, priority) for priority, each in self._classes.items() if each.flows]
        if not waiting:
            raise IndexError("nothing waits")
        _, priority = min(waiting, key=lambda pair: pair[0])
        chosen = self._classes[priority]
        item, cost = chosen.pop()
        chosen.used += cost / WEIGHTS[priority]
        self._size -= 1
        return item

    def remove(self, item: T) -> bool:
        """Take out one that was pushed; whether it was there."""
        found = any(each.remove(item) for each in self._classes.values())
        self._size -= found
        return found

    def longest(self) -> tuple[str, int, T]:
        """The flow with the most waiting over all classes, how many, and the last of its lowest class."""
        counts: dict[str, int] = {}
        last: dict[str, T] = {}
        for each in self._in_order():
            for name, flow in each.flows.items():
                counts[name] = counts.get(name, 0) + len(flow.items)
                last[name] = flow.items[-1][0]
        name = max(counts, key=counts.__getitem__)
        return name, counts[name], last[name]

    def flows(self) -> int:
        """How many tenants have something waiting."""
        return len({name for each in self._classes.values() for name in each.flows})

    def waiting(self, flow: str) -> int:
        """How many items of ``flow`` wait."""
        return sum(len(each.flows[flow].items) for each in self._classes.values() if flow in each.flows)

    def _in_order(self) -> Iterator[_Class[T]]:
        return iter(self._classes[priority] for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW))
