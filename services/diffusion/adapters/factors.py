"""Reads adapters (Hu et al., "LoRA", 2021) as PEFT, diffusers and kohya-ss's scripts write them.

Three ways to say what the product of a layer's two factors is multiplied by: a directory's
``adapter_config.json``, the file's metadata, or a number ``<layer>.alpha``; else it is 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize, safe_open

from services.common.lora import Factors, Matrix, checked, scale_of
from services.diffusion.adapters.adapter import Adapter
from services.diffusion.adapters.names import Layer, factor_of, layer_of_alpha

CONFIG_FILE = "adapter_config.json"
PEFT_FILE = "adapter_model.safetensors"
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"

Tensors = Mapping[str, npt.NDArray[Any]]
Convert = Callable[[Path], dict[str, npt.NDArray[Any]]]
"""Reads a file of kohya's names as diffusers would name its tensors."""

_KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_PARTS = {"text_encoder": 1, "text_encoder_2": 2}
_KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_transformer_")


def read(name: str, key: str, path: Path, convert: Convert | None = None) -> Adapter:
    """The adapter in a directory, or in one file of safetensors.

    Raises ValueError naming what is wrong with it. Files of kohya's names are read by ``convert``.
    """
    file = path if path.is_file() else _file(path)
    tensors, noted = _tensors(file)
    if any(each.startswith(_KOHYA) for each in tensors):
        if convert is None:
            why = "has kohya's names, which are read only where diffusers is installed"
            raise ValueError(f"{file.name} {why}")
        tensors = convert(file)
    config = _config(path)
    pairs, alphas = _pairs(tensors, file.name)
    if not pairs:
        raise ValueError(f"{file.name} holds no layer's factors")
    parts: dict[int, dict[str, Factors]] = {}
    for layer, (down, up) in pairs.items():
        said = config or noted.get(layer.part, {})
        alpha = alphas.get(layer, said.get("lora_alpha", len(down)))
        scale = scale_of(layer.name, len(down), said, alpha)
        parts.setdefault(layer.part, {})[layer.name] = checked(str(layer), _flat(down), _flat(up), scale)
    return Adapter(name, key, parts.pop(0, {}), parts)


def _file(folder: Path) -> Path:
    found = sorted(each.name for each in folder.glob("*.safetensors"))
    for known in (PEFT_FILE, DIFFUSERS_FILE):
        if known in found:
            return folder / known
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise ValueError(f"the directory has no {PEFT_FILE} and no {DIFFUSERS_FILE}; safetensors: {listed}")
    return folder / found[0]


def _tensors(file: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[int, dict[str, Any]]]:
    """The tensors in 32 bits, and the settings that diffusers notes of each part in the metadata."""
    try:
        with safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
        stored = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(f"{file.name} is damaged or cut short: {error}") from None
    tensors = {name: _widened(name, each["dtype"], each["data"], each["shape"]) for name, each in stored}
    return tensors, _noted(metadata.get("lora_adapter_metadata", "{}"), file.name)


def _noted(text: str, file: str) -> dict[int, dict[str, Any]]:
    try:
        places = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{file}: its lora_adapter_metadata is no JSON object") from None
    noted: dict[int, dict[str, Any]] = {}
    for place, value in places.items():
        part, _, name = str(place).partition(".")
        noted.setdefault(_PARTS.get(part, 0), {})[name] = value
    return noted


def _number(name: str, tensor: npt.NDArray[Any]) -> float:
    if tensor.size != 1:
        raise ValueError(f"{name} holds {tensor.size} numbers, one is expected")
    return float(tensor.reshape(()))


def _widened(name: str, kind: str, data: bytes, shape: list[int]) -> Matrix:
    """Numbers in 32 bits. numpy has no bfloat16: those are the upper halves of 32-bit numbers."""
    if kind == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if kind not in _KINDS:
        raise ValueError(f"{name} has numbers of kind {kind}; {', '.join(_KINDS)} and BF16 are read")
    return np.frombuffer(data, _KINDS[kind]).astype(np.float32).reshape(shape)


def _config(path: Path) -> dict[str, Any]:
    """What a directory of PEFT's says; nothing for other files."""
    file = path / CONFIG_FILE
    if not file.is_file():
        return {}
    try:
        config = dict(json.loads(file.read_text()))
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{CONFIG_FILE} is no JSON object") from None
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise ValueError(f"{CONFIG_FILE}: peft_type {kind!r} is not served; LORA is")
    for name in ("use_dora", "lora_bias", "modules_to_save"):
        if config.get(name):
            raise ValueError(f"{CONFIG_FILE}: {name} is not served; factors of layers are")
    if config.get("bias", "none") != "none":
        raise ValueError(f"{CONFIG_FILE}: bias is not served; factors of layers are")
    return config


def _pairs(tensors: Tensors, file: str) -> tuple[dict[Layer, tuple[Matrix, Matrix]], dict[Layer, float]]:
    """(down, up) by layer, and the layers' alphas. ValueError naming a tensor that belongs to no pair."""
    halves: dict[Layer, dict[int, Matrix]] = {}
    alphas: dict[Layer, float] = {}
    for name, tensor in tensors.items():
        if name.endswith(".alpha"):
            alphas[layer_of_alpha(name)] = _number(name, tensor)
            continue
        found = factor_of(name)
        if found is None:
            raise ValueError(f"{file}: {name} is no factor of a layer")
        layer, half = found
        halves.setdefault(layer, {})[half] = tensor
    for layer, each in halves.items():
        if len(each) != 2:
            raise ValueError(f"{file} has only one of the two factors of {layer}")
    return {layer: (each[0], each[1]) for layer, each in halves.items()}, alphas


def _flat(factor: Matrix) -> Matrix:
    """A convolution's factor [out, in, height, width] as a matrix [out, in * height * width]."""
    return factor.reshape(len(factor), math.prod(factor.shape[1:])) if factor.ndim == 4 else factor
