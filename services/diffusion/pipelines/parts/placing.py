"""Where a pipeline's parts are, and how those that wait on the CPU come to the device and leave it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from services.common.errors import unsupported
from services.common.gpu_share import cap_torch
from services.diffusion.pipelines.directory import Architecture, precision_for
from services.diffusion.pipelines.placement import Placement

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Place:
    """Device, precision, and what waits elsewhere."""

    device: torch.device
    dtype: torch.dtype
    rests: bool
    """Whether text encoders and VAE are on the CPU while they are not used."""
    streams: bool
    """Whether the network's layers come to the device one by one."""


def place_for(placement: Placement, architecture: Architecture) -> Place:
    """The placement on this machine. FAILED_PRECONDITION, UNSUPPORTED, for CUDA where there is none."""
    has_gpu = torch.cuda.is_available()
    if placement.device == "cuda" and not has_gpu:
        raise unsupported("device is 'cuda', but PyTorch sees no such device here")
    on_gpu = has_gpu and placement.device != "cpu"
    cap_torch(torch, "cuda" if on_gpu else "cpu")
    return Place(
        device=torch.device("cuda" if on_gpu else "cpu"),
        dtype=_TYPES[precision_for(placement.precision, architecture, on_gpu)],
        rests=on_gpu and placement.offload != "none",
        streams=on_gpu and placement.offload == "all",
    )


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """What does not fit into the device's memory is a ValueError, as whatever else cannot be loaded."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise ValueError(f"the device's memory is too small: {str(error).partition('. ')[0]}") from error


class Resting:
    """A module that is at work for short times: one at a time, and elsewhere in between if so placed."""

    def __init__(self, module: nn.Module, place: Place, dtype: torch.dtype | None = None) -> None:
        self._place = place
        self._lock = threading.Lock()
        self.dtype = dtype or place.dtype
        self._module = module.to("cpu" if place.rests else place.device, self.dtype)

    @property
    def device(self) -> torch.device:
        """Where its inputs must be."""
        return self._place.device

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The module is on its device in this block."""
        if not self._place.rests:
            yield
            return
        with self._lock:
            self._module.to(self._place.device)
            try:
                yield
            finally:
                self._module.to("cpu")


def place_network(network: nn.Module, place: Place) -> None:
    """Bring the network to its device, or have its layers come and go there at each call."""
    if not place.streams:
        network.to(place.device, place.dtype)
        return
    from accelerate import cpu_offload

    cpu_offload(network.to(place.dtype), place.device)
