"""Runs TorchScript files that this project exported itself; they are archives of pickles and code."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.common.errors import Code, Reason, ServiceError, unsupported
from services.common.export.manifest import listed_in_export
from services.common.runtimes.tensors import check_feeds


class TorchScriptRuntime:
    """A traced module. Safe to run from several threads; ``threads`` caps torch in the whole process.

    Opened only when the file's digest stands in the ``export.json`` of its export, which also
    tells what goes in and out: the archive itself does not.
    """

    def __init__(self, path: Path, *, threads: int, providers: Sequence[str] | None = None) -> None:
        content = path.read_bytes()  # hashed and loaded from memory: no other file can slip in between
        export = listed_in_export(path, content)
        if export is None:
            raise ServiceError(
                Code.FAILED_PRECONDITION,
                Reason.UNSAFE_FORMAT,
                f"{path.name}: TorchScript is read only when its digest stands in our own export manifest",
            )
        graph = export.graph_of(path)
        self._name = path.name
        self._device = _device(providers)
        self.providers: tuple[str, ...] = (self._device,)
        self.inputs, self.outputs = graph.inputs, graph.outputs
        torch.set_num_threads(threads)
        self._module: Any = _load(content, self._device, path.name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output by name."""
        module = self._module
        if module is None:
            raise RuntimeError(f"{self._name} is closed")
        check_feeds(self.inputs, feeds)
        tensors = {name: _tensor(value, self._device) for name, value in feeds.items()}
        with torch.inference_mode(), _exactly(self._device):
            results = module(**tensors)
        values = results if isinstance(results, tuple | list) else (results,)
        return {spec.name: value.cpu().numpy() for spec, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        """Release the module once the runs under way have ended."""
        self._module = None


@contextlib.contextmanager
def _exactly(device: str) -> Iterator[None]:
    """On CUDA: as written, for torch fuses kernels after the first runs (a pause, then other bits), and in
    32 bits, for convolutions would keep 10 bits of a float32 (TF32).
    """
    if device == "cpu":
        yield
        return
    with torch.jit.optimized_execution(False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # type: ignore[attr-defined]
        yield


@contextlib.contextmanager
def _deprecations_ignored() -> Iterator[None]:
    """torch announces the end of TorchScript at every use; that we still offer it is our decision."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield


def _load(content: bytes, device: str, name: str) -> Any:
    try:
        with _deprecations_ignored():
            return torch.jit.load(io.BytesIO(content), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        message = f"{name} cannot be opened: {str(error).splitlines()[0]}"
        raise ServiceError(Code.FAILED_PRECONDITION, Reason.LOAD_FAILED, message) from error


def _device(providers: Sequence[str] | None) -> str:
    if providers is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    wanted = providers[0] if providers else "none"
    if wanted == "cpu" or (wanted == "cuda" and torch.cuda.is_available()):
        return wanted
    raise unsupported(f"provider {wanted!r} is not available: torch {torch.__version__} runs cpu or cuda")


def _tensor(value: np.ndarray, device: str) -> torch.Tensor:
    # torch warns of read-only memory, though nothing here writes to it.
    return torch.from_numpy(np.require(value, requirements=["C", "W"])).to(device)
