"""Reads adapters (Hu et al., "LoRA", 2021) as PEFT, diffusers and kohya-ss's scripts write them.

Three ways to name the two factors of a layer, and three to say what their product is multiplied by: a
directory's ``adapter_config.json``, the file's metadata, or a number ``<layer>.alpha``; else it is 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize, safe_open

from services.common.lora import Adapter, Factors, Matrix, checked, scale_of

CONFIG_FILE = "adapter_config.json"
PEFT_FILE = "adapter_model.safetensors"
DIFFUSERS_FILE = "pytorch_lora_weights.safetensors"

Tensors = Mapping[str, npt.NDArray[Any]]
Convert = Callable[[Path], dict[str, npt.NDArray[Any]]]
"""Reads a file of kohya's names as diffusers would name its tensors."""

_ROOTS = ("base_model.model.", "unet.", "transformer.")
_DOWN = ("lora_A.weight", "lora.down.weight", "lora_down.weight", "lora_linear_layer.down.weight")
_UP = ("lora_B.weight", "lora.up.weight", "lora_up.weight", "lora_linear_layer.up.weight")
_PROCESSOR = re.compile(r"(?P<owner>.*)\.processor\.(?P<layer>to_[a-z]+)_lora\.(?P<half>down|up)\.weight")
"""As diffusers wrote them before it used PEFT."""
_KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_TEXT = re.compile(r"text_encoder(_\d)?\.|lora_te\d?_|text_model\.")
_KOHYA = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_transformer_")


def read(name: str, key: str, path: Path, convert: Convert | None = None) -> Adapter:
    """The adapter in a directory, or in one file of safetensors.

    Raises ValueError naming what is wrong with it, or a layer that is not served: convolutions and those of
    text encoders. Files of kohya's names are read by ``convert``.
    """
    file = path if path.is_file() else _file(path)
    tensors, noted = _tensors(file)
    if any(each.startswith(_KOHYA) for each in tensors):
        tensors = _converted(file, tensors, convert)
    config = _config(path) or noted
    pairs, alphas = _pairs(tensors, file.name)
    if not pairs:
        raise ValueError(f"{file.name} holds no layer's factors")
    scales = {layer: _scale(layer, len(down), config, alphas) for layer, (down, _) in pairs.items()}
    return Adapter(name, key, {each: _factors(each, *pair, scales[each]) for each, pair in pairs.items()})


def _file(folder: Path) -> Path:
    found = sorted(each.name for each in folder.glob("*.safetensors"))
    for known in (PEFT_FILE, DIFFUSERS_FILE):
        if known in found:
            return folder / known
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise ValueError(f"the directory has no {PEFT_FILE} and no {DIFFUSERS_FILE}; safetensors: {listed}")
    return folder / found[0]


def _tensors(file: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The tensors in 32 bits, and the settings that diffusers notes in the metadata."""
    try:
        with safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
        stored = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ValueError(f"{file.name} is damaged or cut short: {error}") from None
    tensors = {name: _widened(name, each["dtype"], each["data"], each["shape"]) for name, each in stored}
    noted = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    return tensors, {name.partition(".")[2]: value for name, value in noted.items()}


def _widened(name: str, kind: str, data: bytes, shape: list[int]) -> Matrix:
    """Numbers in 32 bits. numpy has no bfloat16: those are the upper halves of 32-bit numbers."""
    if kind == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if kind not in _KINDS:
        raise ValueError(f"{name} has numbers of kind {kind}; {', '.join(_KINDS)} and BF16 are read")
    return np.frombuffer(data, _KINDS[kind]).astype(np.float32).reshape(shape)


def _converted(file: Path, tensors: Tensors, convert: Convert | None) -> dict[str, npt.NDArray[Any]]:
    for name in tensors:
        if name.startswith("lora_te"):
            raise ValueError(f"{file.name}: {name} changes a text encoder, which is not served")
    if convert is None:
        raise ValueError(f"{file.name} has kohya's names, which are read only where diffusers is installed")
    return convert(file)


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
            raise ValueError(f"{CONFIG_FILE}: {name} is not served; factors of linear layers are")
    if config.get("bias", "none") != "none":
        raise ValueError(f"{CONFIG_FILE}: bias is not served; factors of linear layers are")
    return config


def _pairs(tensors: Tensors, file: str) -> tuple[dict[str, tuple[Matrix, Matrix]], dict[str, float]]:
    """(down, up) by layer, and the layers' alphas. ValueError naming a tensor that belongs to no pair."""
    halves: dict[str, dict[int, Matrix]] = {}
    alphas: dict[str, float] = {}
    for name, tensor in tensors.items():
        if _TEXT.match(name.removeprefix(_ROOTS[0])):
            raise ValueError(f"{file}: {name} changes a text encoder, which is not served")
        if name.endswith(".alpha"):
            alphas[_layer_of_alpha(name.removesuffix(".alpha"))] = float(tensor)
            continue
        layer, half = _place(name, file)
        halves.setdefault(layer, {})[half] = tensor
    for layer, found in halves.items():
        if len(found) != 2:
            raise ValueError(f"{file} has only one of the two factors of {layer}")
    return {layer: (found[0], found[1]) for layer, found in halves.items()}, alphas


def _layer_of_alpha(name: str) -> str:
    """Of a layer's name, or of its first factor's, as diffusers' converter gives some."""
    return _old_layer(old) if (old := _PROCESSOR.fullmatch(name)) else _bare(name)


def _old_layer(found: re.Match[str]) -> str:
    layer = "to_out.0" if found["layer"] == "to_out" else found["layer"]
    return _bare(f"{found['owner']}.{layer}")


def _place(name: str, file: str) -> tuple[str, int]:
    """(layer, 0 for down or 1 for up) of a tensor."""
    if old := _PROCESSOR.fullmatch(name):
        return _old_layer(old), int(old["half"] == "up")
    for half, suffixes in enumerate((_DOWN, _UP)):
        for suffix in suffixes:
            if name.endswith(f".{suffix}"):
                return _bare(name.removesuffix(f".{suffix}")), half
    raise ValueError(f"{file}: {name} is no factor of a linear layer")


def _bare(name: str) -> str:
    """A layer's name in the network."""
    root = next((each for each in _ROOTS if name.startswith(each)), "")
    return name.removeprefix(root)


def _factors(layer: str, down: Matrix, up: Matrix, scale: float) -> Factors:
    if down.ndim == 4 or up.ndim == 4:
        raise ValueError(
            f"{layer} is a convolution, which adapters cannot change here; linear layers they can"
        )
    return checked(layer, down, up, scale)


def _scale(layer: str, rank: int, config: Mapping[str, Any], alphas: Mapping[str, float]) -> float:
    """What the product is multiplied by."""
    return scale_of(layer, rank, config, alphas.get(layer, config.get("lora_alpha", rank)))
