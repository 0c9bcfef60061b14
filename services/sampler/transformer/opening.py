"""Which runner a model gets: ONNX Runtime for our families on the CPU, PyTorch on CUDA and for all others."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from services.common.errors import unsupported
from services.common.gpu_share import cap_torch
from services.common.settings import SettingsError
from services.common.store.derived import Derive
from services.sampler.transformer.lora.linears import Linears
from services.sampler.transformer.model.directory import FAMILIES, Description, NoFamily, family_of
from services.sampler.transformer.onnx import opening as onnx
from services.sampler.transformer.onnx.opening import Opened, Placement

_GRAPHS = {"auto": "int8", "int8": "int8", "fp32": "fp32"}
"""Precisions that ONNX Runtime's graphs have."""
_PACKAGES = ("torch", "transformers")


def open_model(
    description: Description, folder: Path, derive: Derive, placement: Placement, cache_bytes: int
) -> Opened:
    """The model in ``folder``. Raises ValueError naming what is wrong with its files."""
    device = device_of(placement.device)
    precision = _GRAPHS.get(placement.precision)
    if device == "cpu" and precision and description.model_type in FAMILIES:
        try:
            return onnx.open_model(description, folder, derive, replace(placement, precision=precision))
        except NoFamily:
            pass  # Transformers' own code may do what ours does not
    return _open_in_torch(description, folder, placement, cache_bytes, device)


def device_of(name: str) -> str:
    """What a setting that may be "auto" comes to. Raises SettingsError where CUDA is demanded in vain."""
    if name == "cpu":
        return "cpu"
    why = _why_no_cuda()
    if name == "cuda" and why:
        raise SettingsError(f"PEQUOD_SAMPLER_DEVICE='cuda' is not usable: {why}")
    return "cpu" if why else "cuda"


def _open_in_torch(
    description: Description, folder: Path, placement: Placement, cache_bytes: int, device: str
) -> Opened:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise unsupported(
            f"a model of {description.model_type!r} needs {', '.join(missing)}: install the 'train' extra"
        )
    import torch

    from services.sampler.transformer.torch import opening

    torch.set_num_threads(placement.threads)
    cap_torch(torch, device)
    room = opening.Room(placement.slots, placement.context, cache_bytes)
    runner, inspector, positions = opening.open_model(
        _own_family(description), description, folder, room, placement.precision, torch.device(device)
    )
    return Opened(runner, inspector, Linears.of_facts([], 0), positions)


def _own_family(description: Description) -> ModuleType | None:
    try:
        return family_of(description)
    except NoFamily:
        return None


def _why_no_cuda() -> str:
    """Why models cannot run on CUDA; empty where they can. PyTorch is loaded only where there is a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or not count.value:
            return "NVIDIA's driver finds no GPU"
    except OSError:
        return "NVIDIA's driver is not installed"
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed (the 'train' extra)"
    import torch

    return "" if torch.cuda.is_available() else "this PyTorch is built without CUDA"
