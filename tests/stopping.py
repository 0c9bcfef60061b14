"""Trainings that are stopped in their middle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from services.finetune.recipes.resumable import Pace, Resumable


@contextlib.contextmanager
def stopped_after(steps: int) -> Iterator[None]:
    """A training within it is stopped after ``steps`` of its steps, as by Ctrl-C; there has to be one."""
    run = Resumable.run

    def part(self, pace, learn, look):
        run(self, Pace(min(pace.steps, steps), pace.look_every, 0.0), learn, look)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Resumable, "run", part)
        with pytest.raises(KeyboardInterrupt):
            yield
