"""Checkpoints: whole, of healthy numbers, and never instead of a good one."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from services.finetune.recipes.resumable import Pace, Resumable
from services.finetune.recipes.saving import save_checkpoint
from services.finetune.recipes.watching import Alone, Diverged, Stopped
from tests.unit.recipes.disks import limited


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_state_leaves_the_checkpoint_before(tmp_path, bad):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"model": {"weight": torch.ones(3)}, "step": 1})
    state = {"model": {"weight": torch.tensor([1.0, bad])}, "step": 2}
    with pytest.raises(Diverged, match=r"model\.weight"):
        save_checkpoint(file, state)
    assert torch.load(file, weights_only=True)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_full_disk_is_an_oserror_and_leaves_the_checkpoint_before(tmp_path):
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, {"weight": torch.ones(3)})
    with limited(50_000), pytest.raises(OSError, match="File too large") as failed:
        save_checkpoint(file, {"weight": torch.ones(100_000)})
    assert failed.value.errno == errno.EFBIG
    assert torch.load(file, weights_only=True)["weight"].numel() == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


class Asked(Alone):
    """Wants a stop once so many steps were done."""

    def __init__(self, after: int) -> None:
        self._left = after

    def wants_stop(self) -> bool:
        self._left -= 1
        return self._left == 0


class Weight:
    def __init__(self) -> None:
        self.value = torch.zeros(())

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state_dict):
        self.value = state_dict["value"]


def test_weights_that_break_before_the_loss_does_are_not_saved(tmp_path):
    weight = Weight()
    course = Resumable(tmp_path, {"weight": weight}, {}, 1)

    def learn(step: int, chance: np.random.Generator) -> torch.Tensor:
        weight.value = weight.value + (float("inf") if step == 5 else 1.0)
        return torch.ones(())

    with pytest.raises(Diverged, match=r"weight\.value"):
        course.run(Pace(6, 100, save_seconds=0.0), learn, lambda step: {})
    again = Weight()
    resumed = Resumable(tmp_path, {"weight": again}, {}, 1)
    resumed.resume()
    assert (resumed.step, again.value.item()) == (5, 5.0)


def test_a_stop_is_heard_after_the_step_and_leaves_a_checkpoint(tmp_path):
    weight = Weight()
    course = Resumable(tmp_path, {"weight": weight}, {}, 1, watcher=Asked(3))

    def learn(step: int, chance: np.random.Generator) -> torch.Tensor:
        weight.value = weight.value + 1
        return torch.ones(())

    with pytest.raises(Stopped):
        course.run(Pace(10, 100), learn, lambda step: {})
    again = Weight()
    resumed = Resumable(tmp_path, {"weight": again}, {}, 1)
    resumed.resume()
    assert (resumed.step, again.value.item()) == (3, 3.0)
