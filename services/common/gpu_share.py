"""How much of a GPU's memory this process may take, where several share one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from services.common.settings import from_environment, setting

log = logging.getLogger("pequod.gpus")


@dataclass(frozen=True)
class GpuSettings:
    """The share of one service."""

    PREFIXES: ClassVar = ("sampler", "tokenizer", "diffusion", "gan")
    gpu_bytes: int = setting(
        0,
        env="PEQUOD_{SERVICE}_GPU_BYTES",
        help="Bytes of a GPU's memory that the service may take; 0: all.",
        minimum=0,
    )


class _Share:
    """Of this process; 0 while nobody has said."""

    bytes: int = 0


_share = _Share()


def cap_gpu(service: str, environ: Mapping[str, str] | None = None) -> None:
    """Hold this process to its share from now on. Call it first thing. Raises SettingsError.

    A service that runs no models has none.
    """
    if service not in GpuSettings.PREFIXES:
        return
    _share.bytes = from_environment(GpuSettings, environ, service).gpu_bytes
    if _share.bytes:
        log.info("GPU memory capped", extra={"bytes": _share.bytes})


def gpu_bytes() -> int:
    """The share; 0: all there is."""
    return _share.bytes


def cap_torch(torch: Any, device: Any) -> None:
    """Have PyTorch's allocator keep to the share on a CUDA ``device``; more is out of memory to it."""
    kind, _, number = str(device).partition(":")
    if not _share.bytes or kind != "cuda":
        return
    index = int(number) if number else torch.cuda.current_device()  # a fraction is of a GPU with a number
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, _share.bytes / total), index)
