"""A graph whose rows are the same to the bit in any company."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import numpy as np

from services.common.pictures.arrays import Array
from services.common.runtimes import Runtime

Feeds = Mapping[str, Array]

_logger = logging.getLogger("pequod.gan")


class ExactRows:
    """Calls of ``least`` to ``most`` rows, in which kernels round a row the same wherever it stands.

    Matrix products choose their kernels by the number of rows, and those sum in another order: a row alone
    may differ from the same row beside others in a last bit. ``settle`` finds out from how many rows on it
    does not, on the machine that it runs on; calls of fewer are filled up.
    """

    def __init__(self, runtime: Runtime, output: str, most: int) -> None:
        self._runtime = runtime
        self._output = output
        self._taken = {tensor.name for tensor in runtime.inputs}
        self.most = most
        self.least = most

    def run(self, feeds: Feeds) -> Array:
        """[rows, ...] for any number of rows. What the graph does not take is left out."""
        feeds = {name: each for name, each in feeds.items() if name in self._taken}
        count = len(next(iter(feeds.values())))
        begins = range(0, count, self.most)
        return np.concatenate([self._call(feeds, each, min(each + self.most, count)) for each in begins])

    def settle(self, feeds: Feeds) -> None:
        """Find ``least`` by rows that differ, at least ``most`` of them.

        Two ways to sum give the same number often enough: outputs of few numbers need many rows.
        """
        self.least = self.most
        expected = self.run(feeds)
        exact = (each for each in self._tried() if self._is_exact(each, feeds, expected))
        self.least = next(exact, self.most)
        moved = self.run({name: np.roll(each, 1, axis=0) for name, each in feeds.items()})
        if not np.array_equal(np.roll(moved, -1, axis=0), expected):
            _logger.warning("rows depend on their place in a call", extra={"output": self._output})

    def close(self) -> None:
        """Let go of the graph."""
        self._runtime.close()

    def _call(self, feeds: Feeds, begin: int, end: int) -> Array:
        rows = np.minimum(np.arange(begin, max(end, begin + self.least)), end - 1)
        said = self._runtime.run({name: each[rows] for name, each in feeds.items()})
        return said[self._output][: end - begin]

    def _tried(self) -> Iterator[int]:
        least = 1
        while least < self.most:
            yield least
            least *= 2

    def _is_exact(self, least: int, feeds: Feeds, expected: Array) -> bool:
        """Whether every row is as expected in calls of every size."""
        self.least = least
        taken = {name: each for name, each in feeds.items() if name in self._taken}
        for count in range(least, self.most + 1):
            for begin in range(0, len(expected), count):
                end = min(begin + count, len(expected))
                if not np.array_equal(self._call(taken, begin, end), expected[begin:end]):
                    return False
        return True
