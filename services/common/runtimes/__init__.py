"""Runtimes execute exported artefacts: one protocol, one file a runtime, chosen by file suffix."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from services.common.errors import Code, Reason, ServiceError, unsupported
from services.common.runtimes.tensors import GraphTensor
from services.common.store.safety import PICKLE_SUFFIXES

__all__ = ["GraphTensor", "Runtime", "open_runtime"]


class Runtime(Protocol):
    """An artefact ready to run. ``run`` may be called from several threads at once."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    providers: tuple[str, ...]
    """What executes it, most wanted first: "cuda", "cpu"."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output by name. INVALID_ARGUMENT naming the tensor when the feeds do not fit."""

    def close(self) -> None:
        """Give the memory back; the runtime cannot run afterwards."""


# suffix -> module and class, imported when first asked for
_RUNTIMES = {
    ".onnx": ("services.common.runtimes.onnx", "OnnxRuntime"),
    ".pt": ("services.common.runtimes.torchscript", "TorchScriptRuntime"),
}


def open_runtime(path: Path, *, threads: int, providers: Sequence[str] | None = None) -> Runtime:
    """Open the artefact ``path`` with at most ``threads`` threads for one run.

    ``providers``: "cpu", "cuda", "tensorrt" (ONNX only). Naming them is a demand: what is not there raises
    FAILED_PRECONDITION, reason UNSUPPORTED. None takes CUDA where it works, else the CPU.
    Raises FAILED_PRECONDITION with reason UNSAFE_FORMAT for pickles, LOAD_FAILED for a broken
    file, and DATA_LOSS with reason FILE_TAMPERED for one that its export manifest disowns.
    """
    if threads < 1:
        raise ValueError(f"threads={threads}: at least 1 is needed")
    path = Path(path)
    if path.suffix not in _RUNTIMES:
        raise _no_runtime(path)
    if not path.is_file():
        raise ServiceError(Code.FAILED_PRECONDITION, Reason.LOAD_FAILED, f"there is no file {path.name}")
    module, name = _RUNTIMES[path.suffix]
    runtime = getattr(importlib.import_module(module), name)
    return cast(Runtime, runtime(path, threads=threads, providers=providers))


def _no_runtime(path: Path) -> ServiceError:
    known = ", ".join(_RUNTIMES)
    if path.suffix in PICKLE_SUFFIXES:
        message = f"{path.name}: a pickle can run code when read; runtimes open {known}"
        return ServiceError(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, message)
    return unsupported(f"no runtime for {path.name}; runtimes open {known}")
