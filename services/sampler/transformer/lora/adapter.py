"""Reads adapters as PEFT writes them: a pair of small matrices for each linear layer that they change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from services.common.lora import Adapter, Factors, Matrix, checked, scale_of
from services.sampler.transformer.model.directory import read_json
from services.sampler.transformer.model.names import bare

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
_ROOT = "base_model.model."
_HALVES = ("lora_A.weight", "lora_B.weight")

Pair = tuple[Matrix, Matrix]
"""What is added to a layer: x @ down @ up."""


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
    scale = scale_of(layer, len(down), config, config.get("lora_alpha", 8))
    return checked(layer, down, up, scale)
