"""Rows that are the same in any company, over a runtime whose are not."""

from __future__ import annotations

import numpy as np
import pytest

from services.common.runtimes.tensors import GraphTensor
from services.gan.onnx.rows import ExactRows


class Rounding:
    """Adds a little to every row of a call of fewer than ``steady`` rows; notes the calls."""

    inputs = (GraphTensor(name="x", dtype="float32", shape=("batch", 2)),)
    outputs = (GraphTensor(name="y", dtype="float32", shape=("batch", 2)),)
    providers = ("cpu",)

    def __init__(self, steady: int, worst_place: int | None = None) -> None:
        self.steady, self.worst_place = steady, worst_place
        self.calls: list[int] = []
        self.is_closed = False

    def run(self, feeds):
        x = feeds["x"]
        self.calls.append(len(x))
        y = 2 * x + (np.float32(1e-6) * (len(x) < self.steady))
        if self.worst_place is not None and len(x) > self.worst_place:
            y[self.worst_place] += 1e-6
        return {"y": y}

    def close(self):
        self.is_closed = True


def rows(count):
    return {"x": np.random.default_rng(0).random((count, 2), np.float32), "unknown": np.zeros((count, 1))}


@pytest.mark.parametrize(
    ("steady", "least"), [(0, 1), (1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (7, 8)]
)
def test_calls_are_filled_up_from_where_rows_are_exact(steady, least):
    exact = ExactRows(Rounding(steady), "y", 8)
    exact.settle(rows(8))
    assert exact.least == least


def test_a_row_that_differs_seldom_is_found_among_many():
    class Seldom(Rounding):
        """A call of one row is off where the row's first number is large."""

        def run(self, feeds):
            y = super().run(feeds)["y"]
            return {"y": y + np.float32(1e-6) * ((len(y) == 1) & (feeds["x"][:, :1] > 0.97))}

    found = ExactRows(Seldom(0), "y", 8)
    found.settle(rows(200))
    assert found.least == 2


def test_rows_that_depend_on_their_place_are_told_of(caplog):
    exact = ExactRows(Rounding(0, worst_place=5), "y", 8)
    exact.settle(rows(8))
    assert exact.least == 8
    assert "rows depend on their place" in caplog.text


def test_rows_that_do_not_are_not(caplog):
    ExactRows(Rounding(3), "y", 8).settle(rows(20))
    assert "rows depend" not in caplog.text


@pytest.mark.parametrize("count", [1, 3, 8, 9, 21])
def test_any_number_of_rows_is_run_in_calls_of_the_right_sizes(count):
    runtime = Rounding(4)
    exact = ExactRows(runtime, "y", 8)
    exact.settle(rows(8))
    runtime.calls.clear()
    given = rows(count)
    np.testing.assert_array_equal(exact.run(given), 2 * given["x"])
    assert all(4 <= each <= 8 for each in runtime.calls)
    assert len(runtime.calls) == -(-count // 8)


def test_before_it_is_settled_every_call_is_full():
    runtime = Rounding(0)
    ExactRows(runtime, "y", 8).run(rows(1))
    assert runtime.calls == [8]


def test_closing_closes_the_runtime():
    runtime = Rounding(0)
    ExactRows(runtime, "y", 8).close()
    assert runtime.is_closed
