"""Which slot of the cache each sequence has: those that write are the first ones, without a gap.

A step that writes runs over the first n slots, so whoever begins to write moves down to n, and the last
writer fills the gap of one that leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from services.sampler.transformer.runner import Runner


@dataclass(eq=False)
class Seat:
    """A sequence's slot and how many of its positions are filled."""

    slot: int
    length: int = 0


@dataclass
class Slots:
    """All seats of one runner."""

    runner: Runner
    writers: list[Seat] = field(default_factory=list)
    """By slot."""
    readers: dict[int, Seat] = field(default_factory=dict)
    """Seats whose prompt is still being read, by slot."""

    @property
    def taken(self) -> int:
        """How many seats there are."""
        return len(self.writers) + len(self.readers)

    @property
    def positions(self) -> int:
        """How many positions are filled."""
        return sum(seat.length for seat in (*self.writers, *self.readers.values()))

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken."""
        return self.taken == self.runner.slots

    def sit(self) -> Seat:
        """A seat to read into; there must be a free one."""
        free = (slot for slot in range(len(self.writers), self.runner.slots) if slot not in self.readers)
        slot = next(free)
        seat = self.readers[slot] = Seat(slot)
        return seat

    def begin_writing(self, seat: Seat) -> None:
        """Make a reader the last of the writers."""
        target = len(self.writers)
        del self.readers[seat.slot]
        other = self.readers.pop(target, None)
        if other is not None:
            self.runner.swap(seat.slot, target, (seat.length, other.length))
            other.slot = seat.slot
            self.readers[other.slot] = other
        elif seat.slot != target:
            self.runner.move(seat.slot, target, seat.length)
        seat.slot = target
        self.writers.append(seat)

    def stop_writing(self, seat: Seat) -> None:
        """Make a writer a reader again, of nothing: its positions are forgotten."""
        self._close_gap(seat)
        seat.slot = len(self.writers)
        seat.length = 0
        self.readers[seat.slot] = seat

    def leave(self, seat: Seat) -> None:
        """Free a seat."""
        if self.readers.get(seat.slot) is seat:
            del self.readers[seat.slot]
            self.runner.free(seat.slot)
        else:
            self._close_gap(seat)

    def _close_gap(self, seat: Seat) -> None:
        last = self.writers.pop()
        if last is seat:
            self.runner.free(seat.slot)
        else:
            self.runner.move(last.slot, seat.slot, last.length)
            self.writers[seat.slot] = last
            last.slot = seat.slot
