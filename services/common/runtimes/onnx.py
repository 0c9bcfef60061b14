"""Runs ONNX files with ONNX Runtime on the CPU, CUDA or TensorRT."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from services.common.errors import Code, Reason, ServiceError, unsupported
from services.common.export.manifest import listed_in_export
from services.common.gpu_share import gpu_bytes
from services.common.runtimes.tensors import GraphTensor, check_feeds

log = logging.getLogger("pequod.runtimes")

_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_SHORT = {long: short for short, long in _PROVIDERS.items()}

# TF32 keeps 10 bits of a float32; a searched convolution algorithm may differ from run to run.
_OPTIONS = {"cuda": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}

# On a CPU the fused kernel takes four times as long as the addition and normalisation it stands for.
_SLOW_ON_CPU = ["SkipLayerNormFusion"]

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}  # fmt: skip


class OnnxRuntime:
    """An ONNX Runtime session. Safe to run from several threads; each run uses up to ``threads``.

    A file that stands in an export manifest must have the digest that is written there.
    """

    def __init__(self, path: Path, *, threads: int, providers: Sequence[str] | None = None) -> None:
        listed_in_export(path)
        self._name = path.name
        self._session: ort.InferenceSession | None = _open(path, threads, _wanted(providers))
        self.providers = tuple(_SHORT.get(name, name) for name in self._session.get_providers())
        _check_providers(providers, self.providers)
        self.inputs = tuple(_describe(path, node) for node in self._session.get_inputs())
        self.outputs = tuple(_describe(path, node) for node in self._session.get_outputs())
        log.info(
            "opened", extra={"file": path.name, "providers": ",".join(self.providers), "threads": threads}
        )

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every output by name."""
        session = self._session
        if session is None:
            raise RuntimeError(f"{self._name} is closed")
        check_feeds(self.inputs, feeds)
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    def close(self) -> None:
        """Release the session once the runs under way have ended."""
        self._session = None


def _wanted(providers: Sequence[str] | None) -> list[str]:
    """The demanded providers, or CUDA before the CPU where this build has it."""
    available = [_SHORT[name] for name in ort.get_available_providers() if name in _SHORT]
    if providers is None:
        return [name for name in ("cuda", "cpu") if name in available]
    for name in providers:
        if name not in available:
            raise unsupported(
                f"provider {name!r} is not available: onnxruntime {ort.__version__} "
                f"offers {', '.join(available)} here"
            )
    return list(providers)


@functools.cache
def _find_cuda() -> None:
    """Load CUDA's libraries once, where pip put them: the system's loader does not look there.

    A process that has imported torch has them; those that serve exports alone do not import it.
    """
    told = io.StringIO()
    with contextlib.redirect_stdout(told):  # it prints what it does not find
        ort.preload_dlls(directory="")
    for line in told.getvalue().splitlines():
        log.warning("CUDA's libraries: %s", line)


def _open(path: Path, threads: int, providers: Sequence[str]) -> ort.InferenceSession:
    if "cuda" in providers:
        _find_cuda()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # fatal only: failures are raised, and reported once, here
    # A spinning pool burns the cores that the other services on this machine need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(
            str(path),
            options,
            providers=[(_PROVIDERS[name], _options(name)) for name in providers],
            disabled_optimizers=_SLOW_ON_CPU if list(providers) == ["cpu"] else None,
            enable_fallback=0,  # the Python wrapper would go on with the CPU and say so on stdout only
        )
    except Exception as error:  # the binding's own classes share no base
        raise ServiceError(
            Code.FAILED_PRECONDITION, Reason.LOAD_FAILED, f"{path.name} cannot be opened: {_why(error)}"
        ) from error


def _why(error: Exception) -> str:
    """What is wrong, in few words where it is the share of a GPU's memory."""
    share = gpu_bytes()
    if share and "Available memory of" in str(error):
        return f"it does not fit the {share} bytes of the GPU's memory that this service may take"
    return str(error)


def _options(name: str) -> dict[str, str]:
    """Of a provider; on a GPU with the share of its memory that this process may take."""
    options = dict(_OPTIONS.get(name, {}))
    if name == "cuda" and (share := gpu_bytes()):
        # By default an arena doubles as it grows, and would pass the limit long before it is needed.
        options |= {"gpu_mem_limit": str(share), "arena_extend_strategy": "kSameAsRequested"}
    return options


def _check_providers(demanded: Sequence[str] | None, active: Sequence[str]) -> None:
    """ONNX Runtime goes on with the CPU when a provider's libraries or device are missing."""
    if demanded is None:
        if _PROVIDERS["cuda"] in ort.get_available_providers() and "cuda" not in active:
            log.warning("CUDA is built in but does not start here; running on the CPU")
        return
    missing = [name for name in demanded if name not in active]
    if missing:
        raise unsupported(
            f"provider {missing[0]!r} did not start (no device, or its libraries are missing); "
            f"active: {', '.join(active)}"
        )


def _describe(path: Path, node: Any) -> GraphTensor:
    if node.type not in _DTYPES:
        raise unsupported(f"{path.name}: tensor {node.name!r} is a {node.type}, which numpy cannot hold")
    shape = tuple(-1 if size is None else size for size in node.shape)
    return GraphTensor(name=node.name, dtype=_DTYPES[node.type], shape=shape)
