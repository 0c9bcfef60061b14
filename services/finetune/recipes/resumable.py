"""A training in a work folder: it goes on where its checkpoint is, and keeps a curve of what was measured.

What a step does depends on its number and the seed alone, so a training that was stopped and went on ends
with the same weights as one that was not.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from services.finetune.recipes.saving import save_checkpoint
from services.finetune.recipes.watching import TOLD_SECONDS, Alone, Diverged, Stopped, Watcher

_CHECKPOINT = "checkpoint.pt"
_CURVE = "curve.jsonl"


class Stateful(Protocol):
    """A model, an optimiser, an average: what a checkpoint holds."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


@dataclass(frozen=True)
class Pace:
    """How long a training goes on, and how often it stops to look back."""

    steps: int
    look_every: int
    save_seconds: float = 60.0


class Resumable:
    """The steps of one training."""

    def __init__(
        self,
        work: Path,
        parts: Mapping[str, Stateful],
        lasting: Mapping[str, Any],
        seed: int,
        before: Mapping[str, Any] | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        """``lasting``: the options that a checkpoint cannot change under.

        ``before``: what options were in effect before a recipe had them, for checkpoints that are older; such
        a checkpoint may lack parts too, which then stay as they are. ``watcher`` follows; None: nobody does.
        """
        work.mkdir(parents=True, exist_ok=True)
        self.step = 0
        self.seconds = 0.0
        self._parts, self._lasting, self._seed = parts, dict(lasting), seed
        self._before = before
        self._watcher = watcher or Alone()
        self._file, self._curve = work / _CHECKPOINT, work / _CURVE

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ValueError when it was made otherwise."""
        if not self._file.exists():
            return
        saved = torch.load(self._file, map_location="cpu", weights_only=True)
        is_older = self._before is not None and set(saved["options"]) < set(self._before)
        made_with = {**(self._before or {}), **saved["options"]}
        if made_with != self._lasting:
            raise ValueError(f"{self._file} was made with other options: {saved['options']}")
        for name, part in self._parts.items():
            if name in saved or not is_older:
                part.load_state_dict(saved[name])
        self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all. Raises Diverged for one that is broken, OSError."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        state |= {"options": self._lasting, "step": self.step, "seconds": self.seconds}
        save_checkpoint(self._file, state)

    def run(
        self,
        pace: Pace,
        learn: Callable[[int, np.random.Generator], Tensor],
        look: Callable[[int], Mapping[str, float]],
    ) -> None:
        """Train to the last step.

        ``learn`` does the step of a number with its own random numbers, torch's are seeded, and returns its
        loss, without gradients; ``look`` measures, at times. Raises Stopped when the watcher wants it, once a
        checkpoint is written, and Diverged for a loss that is no number, with the last good one on disk.
        """
        losses: list[Tensor] = []  # as tensors: a GPU need not be waited for at each step
        told = 0.0
        saved = started = time.perf_counter()
        while self.step < pace.steps:
            torch.manual_seed(self._seed * 1_000_003 + self.step)
            losses.append(learn(self.step, np.random.default_rng((self._seed, self.step))))
            self.step += 1
            is_last = self.step == pace.steps
            is_wanted = self._watcher.wants_stop() and not is_last
            if time.perf_counter() - told >= TOLD_SECONDS or is_last:
                self._watcher.stepped(self.step, pace.steps, {"loss": self._mean(losses)})
                told = time.perf_counter()
            if self.step % pace.look_every == 0 or is_last:
                loss = self._mean(losses)
                self.seconds += time.perf_counter() - started
                self._note({"loss": loss, **look(self.step)})
                losses, started = [], time.perf_counter()
            if time.perf_counter() - saved >= pace.save_seconds or is_last or is_wanted:
                self._mean(losses)
                self.seconds += time.perf_counter() - started
                self.save()
                saved = started = time.perf_counter()
            if is_wanted:
                raise Stopped(f"stopped after step {self.step} of {pace.steps}")

    def _mean(self, losses: list[Tensor]) -> float:
        """Mean of the losses since the last look. Raises Diverged where it is no number."""
        mean = torch.stack(losses).mean().item() if losses else 0.0
        if not math.isfinite(mean):
            raise Diverged(f"the loss is {mean} by step {self.step}")
        return mean

    def curve(self) -> list[dict[str, float]]:
        """What was measured at each step; the last word counts."""
        lines = self._curve.read_text().splitlines() if self._curve.exists() else []
        return list({(point := json.loads(line))["step"]: point for line in lines}.values())

    def _note(self, measured: Mapping[str, float]) -> None:
        rounded = {name: round(value, 5) for name, value in measured.items()}
        line = json.dumps({"step": self.step, **rounded, "seconds": round(self.seconds, 1)})
        with self._curve.open("a") as file:
            file.write(f"{line}\n")
        sys.stderr.write(f"{line}\n")


def cosine(step: int, steps: int, warm_up: int, end: float = 0.01) -> float:
    """Share of the peak rate: a linear warm-up, then a cosine down to ``end``."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = min((step - warm_up) / max(steps - warm_up, 1), 1.0)
    return float(end + (1 - end) * (1 + np.cos(np.pi * done)) / 2)
