"""Time that passes only where somebody says so: the real dispatcher, with calls of known length."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping
from collections.abc import Sequence as Rows
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np

from services.diffusion.engine import Question
from services.diffusion.onnx.denoiser import TRIED
from services.diffusion.profile import Profile
from services.diffusion.schedulers.levels import Array
from services.diffusion.serving import call, dispatcher

Result = TypeVar("Result")


class Clock:
    """Stands in for the module ``time`` where the dispatcher looks at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now

    perf_counter = monotonic


class _Sleepless(selectors.DefaultSelector):
    """Where a loop would wait, the clock goes forward."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now."""
        if timeout is None:
            raise RuntimeError("everyone waits for each other")
        self._clock.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop by such a clock. Work for threads is done at once, and is said to be done when the time
    has passed that it added to the clock: meanwhile others have theirs."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_Sleepless(clock))
        self._clock = clock

    def time(self) -> float:
        """The clock's."""
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """See the class."""
        begin = self._clock.now
        done = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            self.call_at(self._clock.now, done.set_exception, error)
        else:
            self.call_at(self._clock.now, done.set_result, result)
        self._clock.now = begin
        return done


class TimedDenoiser:
    """Implements ``services.diffusion.engine.Denoiser``: says nothing, in the time that a network takes."""

    def __init__(self, clock: Clock, seconds: Mapping[int, float], rows: int) -> None:
        """``seconds``: of calls by their rows."""
        self.rows = rows
        self.profile = Profile(
            rows, {count: each / count for count, each in seconds.items() if count in TRIED and count <= rows}
        )
        self._clock, self._seconds = clock, seconds

    def predict(self, questions: Rows[Question]) -> Rows[Array]:
        """Zeros."""
        self._clock.now += self._seconds[len(questions)]
        return [np.zeros_like(each.sample) for each in questions]


@contextlib.contextmanager
def patched(clock: Clock) -> Iterator[None]:
    """The dispatcher goes by the clock."""
    with patch.object(dispatcher, "time", clock), patch.object(call, "time", clock):
        yield


def run(clock: Clock, work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` gives, by the clock."""
    with patched(clock), asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(work)
