"""Trains a language model step by step; a stopped training goes on where its checkpoint is."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from services.finetune.recipes.device import Device
from services.finetune.recipes.language_model.data import Data
from services.finetune.recipes.language_model.muon import Muon
from services.finetune.recipes.language_model.options import Options
from services.finetune.recipes.language_model.parallel import ALONE, Team
from services.finetune.recipes.language_model.shape import config_of
from services.finetune.recipes.saving import save_checkpoint
from services.finetune.recipes.watching import TOLD_SECONDS, Alone, Diverged, Stopped, Watcher
from services.sampler.families.llama import Llama
from services.sampler.transformer.model.decoder import causal, transform

_CHECKPOINT = "checkpoint.pt"
_CURVE = "curve.jsonl"
_BETAS = (0.9, 0.95)
_CLIP = 1.0
_STRIDE = 4
"""Held-out windows overlap so that all but a text's beginning is read with 3/4 of a window before it."""


class Trainer:
    """The model, its two optimisers, and the step it is at."""

    def __init__(
        self, options: Options, work: Path, among: Team = ALONE, watcher: Watcher | None = None
    ) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.step = 0
        self.seconds = 0.0
        self._team = among
        self._watcher = watcher or Alone()
        self._told = 0.0
        self._device = Device(options.device, options.threads)
        self.model = Llama(config_of(options))
        initialise(self.model)
        self.model.to(self._device.torch)
        self._optimisers = _optimisers(self.model, options)
        self._file = work / _CHECKPOINT
        self._curve = work / _CURVE

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ValueError when it was made otherwise."""
        if not self._file.exists():
            return
        saved = torch.load(self._file, weights_only=True, map_location=self._device.torch)
        if saved["options"] != self.options.lasting:
            raise ValueError(f"{self._file} was made with other options: {saved['options']}")
        self.model.load_state_dict(saved["model"])
        for optimiser, state in zip(self._optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all. Raises Diverged for one that is broken, OSError."""
        state = {
            "options": self.options.lasting,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "step": self.step,
            "seconds": self.seconds,
        }
        save_checkpoint(self._file, state)

    def run(self, data: Data) -> None:
        """Train to the last step; the work folder holds checkpoint and curve.

        Raises Stopped when the watcher wants it, a checkpoint written before, and Diverged for a loss that is
        no number, with the last good one on disk.
        """
        options = self.options
        losses: list[float] = []
        for batch in data.batches(self.step, options.batch):
            if self.step >= options.steps:
                break
            started = time.perf_counter()
            losses.append(self._learn(batch))
            self.seconds += time.perf_counter() - started
            self.step += 1
            last = self.step == options.steps
            wanted = self._team.agrees(self._watcher.wants_stop()) and not last
            self._tell(losses, last)
            if self._team.leads and (self.step % options.evaluate_every == 0 or last):
                self._note(float(np.mean(losses)), data)
                losses = []
            if self._team.leads and (self.step % options.save_every == 0 or last or wanted):
                self.save()
            if wanted:
                raise Stopped(f"stopped after step {self.step} of {options.steps}")

    def _tell(self, losses: list[float], last: bool) -> None:
        """The watcher hears of a step every second, and of the last one. Raises Diverged."""
        if not math.isfinite(losses[-1]):
            raise Diverged(f"the loss is {losses[-1]} at step {self.step}")
        if last or time.perf_counter() - self._told >= TOLD_SECONDS:
            self._watcher.stepped(self.step, self.options.steps, {"loss": float(np.mean(losses))})
            self._told = time.perf_counter()

    def curve(self) -> list[dict[str, float]]:
        """What was noted: step, training loss, held-out bits a byte; the last word on every step."""
        lines = self._curve.read_text().splitlines() if self._curve.exists() else []
        return list({(point := json.loads(line))["step"]: point for line in lines}.values())

    def _learn(self, batch: Tensor) -> float:
        for optimiser, peak in zip(self._optimisers, _peaks(self.options), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * schedule(self.step, self.options)
            optimiser.zero_grad(set_to_none=True)
        total = 0.0
        mine = self._team.share(batch).to(self._device.torch)
        for windows in torch.split(mine, self.options.at_once):
            with self._device.products():
                loss = loss_of(self.model, windows) * (len(windows) / len(mine))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self._team.average(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        for optimiser in self._optimisers:
            optimiser.step()
        return total

    def _note(self, loss: float, data: Data) -> None:
        point = {
            "step": self.step,
            "tokens": self.step * self.options.batch * self.options.window,
            "train_loss": round(loss, 4),
            "held_out_bits_per_byte": round(bits_per_byte(self.model, data), 4),
            "seconds": round(self.seconds, 1),
        }
        with self._curve.open("a") as file:
            file.write(json.dumps(point) + "\n")
        sys.stderr.write(f"{json.dumps(point)}\n")


def initialise(model: Llama) -> None:
    """Normal weights; those that write into the residual stream smaller with depth (Radford et al., 2019)."""
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            deep = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * model.config.num_hidden_layers) if deep else 1))


def schedule(step: int, options: Options) -> float:
    """Share of the peak rate: a linear warm-up, then a cosine down to a hundredth."""
    if step < options.warm_up:
        return (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(options.steps - options.warm_up, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def loss_of(model: Llama, batch: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each id of ``batch`` [windows, window + 1] after those before it."""
    inputs, targets = batch[:, :-1], batch[:, 1:]
    x = read(model, inputs)
    return functional.cross_entropy(model.unembed(x), targets.reshape(-1))


def read(model: Llama, ids: Tensor) -> Tensor:
    """The last layer's rows of ids [windows, length], each window from position 0 on."""
    windows, length = ids.shape
    positions = torch.arange(length, device=ids.device)
    attend = causal(windows, length, model.rotation(positions))
    return transform(model, ids.reshape(-1), positions.repeat(windows), attend)


@torch.no_grad()
def bits_per_byte(model: Llama, data: Data) -> float:
    """Bits that a byte of the held-out chapters costs; the first token of a chapter is not counted."""
    nats = sum(_nats(model, ids.astype(np.int64)) for ids in data.held_out)
    return nats / math.log(2) / sum(data.held_out_bytes)


def _nats(model: Llama, ids: npt.NDArray[np.int64]) -> float:
    """Cost of a chapter, read in overlapping windows; of each window what no earlier one has read."""
    window = model.config.max_position_embeddings
    device = next(model.parameters()).device
    total, done = 0.0, 1
    for start in range(0, len(ids), window // _STRIDE):
        part = torch.from_numpy(ids[start : start + window + 1]).to(device)
        if start + len(part) <= done:
            break
        x = read(model, part[:-1].unsqueeze(0))
        fresh = start + len(part) - done
        logits = model.unembed(x[-fresh:])
        total += float(functional.cross_entropy(logits, part[-fresh:], reduction="sum"))
        done += fresh
    return total


def _optimisers(model: Llama, options: Options) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embedding and norms."""
    matrices = [each for each in model.blocks.parameters() if each.ndim == 2]
    others = [each for each in model.parameters() if all(each is not matrix for matrix in matrices)]
    muon_rate, adam_rate = _peaks(options)
    return [
        Muon(matrices, lr=muon_rate, weight_decay=options.decay),
        torch.optim.AdamW(others, lr=adam_rate, betas=_BETAS, weight_decay=0.0),
    ]


def _peaks(options: Options) -> tuple[float, float]:
    return options.muon_rate, options.adam_rate
