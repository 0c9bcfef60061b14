"""What lies in a directory of diffusers' format: its architecture, components and their weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from services.common.errors import unsupported
from services.common.store.pipeline import INDEX_FILE, network_of, weights_of

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_ACTIVATIONS = 1.15
"""Memory of a call over that of the weights: a guess for eight rows of the size trained on."""


class Architecture(Enum):
    """The pipelines served here; the values are diffusers' names."""

    STABLE_DIFFUSION = "StableDiffusionPipeline"
    SDXL = "StableDiffusionXLPipeline"
    FLUX = "FluxPipeline"


_COMPONENTS = {
    Architecture.STABLE_DIFFUSION: ("scheduler", "text_encoder", "tokenizer", "unet", "vae"),
    Architecture.SDXL: (
        *("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"),
    ),
    Architecture.FLUX: (
        *("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae"),
    ),
}
_WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "tokenizer_2")


@dataclass(frozen=True)
class Directory:
    """A pipeline's directory."""

    path: Path
    architecture: Architecture
    index: Mapping[str, Any]
    """``model_index.json``."""
    variants: Mapping[str, str | None]
    """Component -> what its weights have in their names ("fp16"), when there are no others."""

    @property
    def network(self) -> str:
        """The component that is asked at each step."""
        return network_of(self.variants)

    def config(self, component: str) -> dict[str, Any]:
        """The component's JSON."""
        name = "scheduler_config.json" if component == "scheduler" else "config.json"
        return read_json(self.path / component / name)


def read_directory(path: Path) -> Directory:
    """Look at a directory, without loading anything.

    Raises FAILED_PRECONDITION for an architecture that is not served (UNSUPPORTED) and for weights that are
    only there as pickles (UNSAFE_FORMAT), ValueError naming a component that is missing.
    """
    index = read_json(path / INDEX_FILE)
    name = str(index.get("_class_name"))
    known = [each.value for each in Architecture]
    if name not in known:
        raise unsupported(f"{INDEX_FILE}: _class_name {name!r} is not served; {', '.join(known)} are")
    architecture = Architecture(name)
    variants: dict[str, str | None] = {}
    for component in _COMPONENTS[architecture]:
        if not (path / component).is_dir():
            raise ValueError(f"{name} has a folder {component!r}, which is missing")
        if component not in _WITHOUT_WEIGHTS:
            variants[component] = _variant(path, component)
    return Directory(path, architecture, index, variants)


def memory_bytes(path: Path, precision: str, on_gpu: bool = False) -> int:
    """What a pipeline takes once it is open; ``precision`` as in ``Placement``."""
    directory = read_directory(path)
    kind = precision_for(precision, directory.architecture, on_gpu)
    files = [file for component in directory.variants for file in weight_files(path, component)]
    return int(sum(_numbers(file) for file in files) * _BYTES[kind] * _ACTIVATIONS)


def precision_for(precision: str, architecture: Architecture, on_gpu: bool) -> str:
    """What "auto" stands for."""
    if precision != "auto":
        return precision
    if not on_gpu:
        return "fp32"
    return "bf16" if architecture is Architecture.FLUX else "fp16"


def weight_files(path: Path, component: str) -> list[Path]:
    """The files that hold a component's weights."""
    names = [f"{component}/{each.name}" for each in (path / component).iterdir() if each.is_file()]
    return [path / name for name in weights_of(component, names).files]


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises ValueError naming the file."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        raise ValueError(f"{file.parent.name}/{file.name} is missing") from None
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{file.parent.name}/{file.name} is no JSON object") from None


def _variant(path: Path, component: str) -> str | None:
    names = [f"{component}/{each.name}" for each in (path / component).iterdir() if each.is_file()]
    found = weights_of(component, names)
    if not found.files:
        raise ValueError(f"component {component!r} has no weights")
    return found.variant


def _numbers(file: Path) -> int:
    """How many numbers a file of safetensors holds, as its header says."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return sum(math.prod(each["shape"]) for name, each in header.items() if name != "__metadata__")
