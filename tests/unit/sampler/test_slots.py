"""Writers have the first slots without a gap, whatever comes and goes, and keep what they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.sampler.transformer.slots import Seat, Slots


class Memory:
    """A runner that holds a name where keys and values would be."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.held: list[object] = [None] * slots

    def move(self, source: int, target: int, length: int) -> None:
        self.held[target] = self.held[source]

    def free(self, slot: int) -> None:
        self.held[slot] = None

    def swap(self, first: int, second: int, lengths: tuple[int, int]) -> None:
        self.held[first], self.held[second] = self.held[second], self.held[first]


@given(st.lists(st.tuples(st.sampled_from("swlx"), st.integers(0, 20)), max_size=60))
def test_any_coming_and_going(moves):
    memory = Memory(5)
    slots = Slots(memory)
    seats: list[Seat] = []
    for move, which in moves:
        writing = [seat for seat in seats if seat in slots.writers]
        reading = [seat for seat in seats if seat not in writing]
        if move == "s" and len(seats) < 5:
            seat = slots.sit()
            seats.append(seat)
            memory.held[seat.slot] = seat
            seat.length = which
        elif move == "w" and reading:
            slots.begin_writing(reading[which % len(reading)])
        elif move == "x" and writing:
            seat = writing[which % len(writing)]
            slots.stop_writing(seat)
            memory.held[seat.slot] = seat
        elif move == "l" and seats:
            slots.leave(seats.pop(which % len(seats)))
        assert [seat.slot for seat in slots.writers] == list(range(len(slots.writers)))
        assert len({seat.slot for seat in seats}) == len(seats) == slots.taken
        assert all(memory.held[seat.slot] is seat for seat in seats)
        assert slots.positions == sum(seat.length for seat in seats)
