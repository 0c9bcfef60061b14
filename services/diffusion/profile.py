"""How many rows a network's calls are to have, found by a few calls when it is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

_NEAR = 1.05
"""How much more time a row may take than at best."""
_REPEATS = 3


def rows_and_seconds(
    call: Callable[[int], object],
    tried: Sequence[int],
    budget_seconds: float,
    too_large: type[Exception] | tuple[()] = (),
) -> tuple[int, float]:
    """(the fewest rows at which a row is about as cheap as it gets, seconds a row takes there).

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
    return chosen, taken[chosen]


def _timed(call: Callable[[int], object], rows: int) -> float:
    begin = time.perf_counter()
    call(rows)
    return time.perf_counter() - begin
