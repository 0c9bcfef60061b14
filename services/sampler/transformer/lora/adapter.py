"""Reads adapters as PEFT writes them: a pair of small matrices for each linear layer that they change.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; the scale by the root of the rank is
Kalajdzievski's, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from services.sampler.transformer.model.directory import read_json
from services.sampler.transformer.model.names import bare

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_ROOT = "base_model.model."
_HALVES = ("lora_A.weight", "lora_B.weight")

Matrix = npt.NDArray[np.float32]
Pair = tuple[Matrix, Matrix]
"""What is added to a layer: x @ down @ up."""


@dataclass(frozen=True, eq=False)
class Factors:
    """What is added to a layer's weight [out, in]: the product ``up @ down``."""

    down: Matrix
    """[rank, in]."""
    up: Matrix
    """[out, rank], the adapter's scale in it."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Changes of a model's linear layers."""

    name: str
    key: str
    """Tells apart adapters that give different results."""
    factors: Mapping[str, Factors]
    """By the layer's name in the model's checkpoint, as ``bare`` gives it."""

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(len(each.down) for each in self.factors.values())

    @property
    def nbytes(self) -> int:
        """Memory of all factors."""
        return sum(each.down.nbytes + each.up.nbytes for each in self.factors.values())


def read(name: str, key: str, folder: Path) -> Adapter:
    """The adapter in ``folder``. Raises ValueError naming what is wrong with its files or not done here."""
    config = read_json(folder / CONFIG_FILE)
    _check(config)
    pairs = _pairs(_tensors(folder / WEIGHTS_FILE))
    if not pairs:
        raise ValueError(f"{WEIGHTS_FILE} holds no layer's factors")
    factors = {bare(layer): _factors(layer, pair, config) for layer, pair in pairs.items()}
    return Adapter(name, key, factors)


def _check(config: Mapping[str, Any]) -> None:
    """Refuse what would be wrong without more than two factors a layer."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"{CONFIG_FILE}: peft_type {kind!r} is not served; LORA is")
    asked = {
        "use_dora": bool(config.get("use_dora")),
        "bias": config.get("bias", "none") != "none",
        "lora_bias": bool(config.get("lora_bias")),
        "modules_to_save": bool(config.get("modules_to_save")),
        "trainable_token_indices": bool(config.get("trainable_token_indices")),
        "layer_replication": bool(config.get("layer_replication")),
        "target_parameters": bool(config.get("target_parameters")),
    }
    for name in (name for name, is_asked in asked.items() if is_asked):
        raise ValueError(f"{CONFIG_FILE}: {name} is not served; factors of linear layers are")


def _tensors(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return dict(load_file(file))
    except FileNotFoundError:
        raise ValueError(f"the directory holds no {file.name}") from None
    except SafetensorError as error:
        raise ValueError(f"{file.name} is damaged or cut short: {error}") from None


def _pairs(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, Pair]:
    """(down, up) by layer. Raises ValueError naming a tensor that belongs to no pair."""
    halves: dict[str, dict[str, Matrix]] = {}
    for name, tensor in tensors.items():
        half = next((each for each in _HALVES if name.endswith(f".{each}")), None)
        if half is None or not name.startswith(_ROOT):
            raise ValueError(f"{WEIGHTS_FILE}: {name} is no factor of a linear layer{_hint(name)}")
        layer = name.removeprefix(_ROOT).removesuffix(f".{half}")
        halves.setdefault(layer, {})[half] = tensor.astype(np.float32)
    for layer, found in halves.items():
        if len(found) != len(_HALVES):
            raise ValueError(f"{WEIGHTS_FILE} has only one of the two factors of {layer}")
    return {layer: (found[_HALVES[0]], found[_HALVES[1]]) for layer, found in halves.items()}


def _hint(name: str) -> str:
    """PEFT adds whole layers of the vocabulary by itself, changed ones or not."""
    is_vocabulary = "embed_tokens" in name or "base_layer" in name or ".wte." in name
    return "; save it with save_embedding_layers=False if it was not trained" if is_vocabulary else ""


def _factors(layer: str, pair: Pair, config: Mapping[str, Any]) -> Factors:
    down, up = pair
    if down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1]:
        raise ValueError(f"{layer}: factors {list(down.shape)} and {list(up.shape)} do not fit together")
    if not (np.isfinite(down).all() and np.isfinite(up).all()):
        raise ValueError(f"{layer}: its factors hold numbers that are not finite")
    return Factors(down, up * np.float32(_scale(layer, len(down), config)))


def _scale(layer: str, rank: int, config: Mapping[str, Any]) -> float:
    """What the product is multiplied by; PEFT's patterns give layers an alpha of their own."""
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            alpha = value
            break
    if not isinstance(alpha, int | float):
        raise ValueError(f"{CONFIG_FILE}: lora_alpha must be a number, got {alpha!r}")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
