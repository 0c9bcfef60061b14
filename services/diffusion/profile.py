"""How many rows a network's calls are to have, found by a few calls when it is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_NEAR = 1.05
"""How much more time a row may take than at best."""
_REPEATS = 3
_TO_COME = 4.0
"""For each row that waits so many are counted: others arrive while it is worked on. Found with Poisson
arrivals and calls as long as those of peeps-diffusion, from half of the capacity to twice that."""


@dataclass(frozen=True)
class Profile:
    """What a network's calls take."""

    rows: int
    """The most rows of a call: more make a row no cheaper."""
    seconds: Mapping[int, float]
    """That a row takes, by the rows of its call."""

    @property
    def seconds_per_row(self) -> float:
        """In a call of the most rows."""
        return self.seconds[self.rows]

    def worth(self, waiting: int) -> int:
        """How many rows a call is to have while so many wait, for the mean of their waits to be short.

        Rows that share a call all end late: with few of them one after the other is better, with many the
        time that sharing saves. Requests worked on in groups of k rows wait seconds(k) * (waiting + k) in
        proportion.
        """
        fewer = [rows for rows in self.seconds if rows <= self.rows]
        return min(fewer, key=lambda rows: (self.seconds[rows] * (_TO_COME * waiting + rows), -rows))


def measured(
    call: Callable[[int], object],
    tried: Sequence[int],
    budget_seconds: float,
    too_large: type[Exception] | tuple[()] = (),
) -> Profile:
    """The profile of ``call``, with the fewest rows at which a row is about as cheap as it gets.

    ``call`` makes a call of so many rows. None is begun after ``budget_seconds``, nor a larger one than one
    that raised ``too_large``. The least of some repeats counts: what else the machine does only adds to it.
    Raises ValueError where not even the smallest call fits.
    """
    taken: dict[int, float] = {}
    try:
        call(tried[0])  # the first call is slow: kernels are chosen, memory is taken
        begin = time.perf_counter()
        for rows in tried:
            if taken and time.perf_counter() - begin > budget_seconds:
                break
            taken[rows] = min(_timed(call, rows) for _ in range(_REPEATS)) / rows
    except too_large as error:
        if not taken:
            raise ValueError(f"a call of {tried[0]} rows does not fit into the device's memory") from error
    best = min(taken.values())
    chosen = next(rows for rows, each in taken.items() if each <= best * _NEAR)
    return Profile(chosen, taken)


def _timed(call: Callable[[int], object], rows: int) -> float:
    begin = time.perf_counter()
    call(rows)
    return time.perf_counter() - begin
