"""A published judge at work: what pictures show, and how much of it is what they were to show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from services.common.store import MANIFEST_NAME
from services.finetune.recipes.judge.network import Config, Network
from services.finetune.recipes.judge.vocabulary import NONE, Labels

WEIGHTS = "judge.safetensors"
_ROWS = 500


@dataclass(frozen=True)
class Verdict:
    """Of some pictures, how many of the words that they were to show they do show."""

    shares: dict[str, float]
    """By attribute: of the pictures that were to have it, those that have it right; NaN where none was to."""
    share: float
    """Of all those words together."""


class Judge:
    """Says what pictures show. It has seen drawings, not what generators draw."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """A version of recipe train_judge. Raises FileNotFoundError where ``folder`` holds none."""
        if not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(f"{folder} holds no {WEIGHTS}: it is no version of a judge")
        config = json.loads((folder / MANIFEST_NAME).read_text())["config"]
        self.words: dict[str, list[str]] = config["words"]
        self.counted: tuple[str, ...] = tuple(config["counted"])
        """Attributes that it tells well enough to judge by."""
        sizes = {"size": config["size"], "widths": tuple(config["widths"])}
        network = Network(Config(tuple(map(len, self.words.values())), **sizes))
        network.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device

    def says(self, pictures: Tensor) -> Labels:
        """[n, 3, s, s] from -1 to 1 -> places [n, attributes] of words; larger ones are shrunk by squares."""
        size = self._network.config.size
        parts = [
            self._network.says(shrunk(each.to(self._device), size)).cpu()
            for each in torch.split(pictures, _ROWS)
        ]
        said: Labels = torch.cat(parts).numpy()
        return said

    def verdict(self, pictures: Tensor, wanted: Labels) -> Verdict:
        """Compare with places [n, attributes], by the attributes that count."""
        return verdict(self.says(pictures), wanted, self.words, self.counted)


def verdict(said: Labels, wanted: Labels, words: dict[str, list[str]], counted: Sequence[str]) -> Verdict:
    """Of the words ``wanted`` of attributes ``counted``, the share that was said; "none" is no word."""
    shares: dict[str, float] = {}
    right = named = 0
    for place, (name, each) in enumerate(words.items()):
        if name not in counted:
            continue
        is_named = wanted[:, place] != 0 if each[0] == NONE else wanted[:, place] >= 0
        hits, count = int((said == wanted)[is_named, place].sum()), int(is_named.sum())
        shares[name] = hits / count if count else float("nan")
        right, named = right + hits, named + count
    return Verdict(shares, right / named if named else float("nan"))


def shrunk(pictures: Tensor, size: int) -> Tensor:
    """[n, 3, s, s] -> [n, 3, size, size]: means of squares. Raises ValueError unless ``size`` divides s."""
    factor, rest = divmod(pictures.shape[-1], size)
    if rest or not factor:
        raise ValueError(f"pictures of {pictures.shape[-1]} pixels a side do not shrink to {size} by squares")
    return functional.avg_pool2d(pictures, factor) if factor > 1 else pictures
