"""Reads the tensors of a Hugging Face directory one at a time, so that no second copy of a model is made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from services.sampler.transformer.model.names import PREFIXES, bare

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Source:
    """Where a parameter comes from: tensors laid end to end along their first axis."""

    names: tuple[str, ...]
    transposed: bool = False
    """Stored [in, out], as GPT-2's are."""


class Weights:
    """The safetensors files of ``folder``, opened and mapped. Raises ValueError for damaged ones."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Any] = {}
        for file in _files(folder):
            opened = _open(file)
            self._files |= dict.fromkeys(opened.keys(), opened)
        if not self._files:
            raise ValueError("the directory holds no safetensors file with tensors")

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that name, with or without the usual prefixes."""
        return self._stored(name) is not None

    def read(self, source: Source, shape: Sequence[int]) -> Tensor:
        """The tensor as stored, of ``shape``. Raises ValueError naming what is missing or misshapen."""
        parts = [self._part(name, source.transposed) for name in source.names]
        tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        if tuple(tensor.shape) != tuple(shape):
            names = " + ".join(source.names)
            raise ValueError(f"{names} is {list(tensor.shape)}, and config.json asks for {list(shape)}")
        if not tensor.is_floating_point():
            raise ValueError(f"{source.names[0]} holds {tensor.dtype}: quantised checkpoints are not read")
        return tensor

    def rows(self, source: Source) -> list[int]:
        """How many rows of the parameter each of the source's tensors is; they are known to be there."""
        axis = 1 if source.transposed else 0
        stored = [full for name in source.names if (full := self._stored(name))]
        return [self._files[full].get_slice(full).get_shape()[axis] for full in stored]

    def _part(self, name: str, transposed: bool) -> Tensor:
        stored = self._stored(name)
        if stored is None:
            raise ValueError(f"the safetensors files lack {name}")
        try:
            tensor: Tensor = self._files[stored].get_tensor(stored)
        except SafetensorError as error:
            raise ValueError(f"{stored} cannot be read: {error}") from None
        return tensor.T if transposed else tensor

    def _stored(self, name: str) -> str | None:
        return next((full for prefix in PREFIXES if (full := prefix + bare(name)) in self._files), None)


def fill(module: torch.nn.Module, weights: Weights, sources: Mapping[str, Source]) -> None:
    """Read every parameter of ``module``, which may be on the meta device, in the parameters' precision.

    Parameters that are one stay one.
    """
    shared: dict[int, torch.nn.Parameter] = {}
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        if id(parameter) not in shared:
            read = weights.read(sources[name], parameter.shape).to(parameter.dtype)
            shared[id(parameter)] = torch.nn.Parameter(read, requires_grad=False)
        _replace(module, name, shared[id(parameter)])


def _replace(module: torch.nn.Module, name: str, value: torch.nn.Parameter) -> None:
    path, _, last = name.rpartition(".")
    setattr(module.get_submodule(path), last, value)


def _files(folder: Path) -> Iterable[Path]:
    index = folder / _INDEX
    if not index.exists():
        return sorted(folder.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise ValueError(f"{_INDEX} is no index of tensors") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{_INDEX} names {missing[0]}, which is not there")
    return [folder / name for name in names]


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{file.name} is damaged or cut short: {error}") from None
