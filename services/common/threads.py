"""Thread caps: how many cores this process may use, and how native libraries are held to a share of them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from threadpoolctl import threadpool_limits

from services.common.settings import from_environment, setting

log = logging.getLogger("pequod.threads")

# Read by OpenMP, MKL, OpenBLAS, Accelerate and Rayon (tokenizers) when they start, and by child processes.
_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
)

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


@dataclass(frozen=True)
class ThreadSettings:
    """How many threads a process may compute with."""

    threads: int = setting(
        0,
        env="PEQUOD_THREADS",
        help="Threads that a service computes with; 0: its share of the cores of a machine with all of them.",
        minimum=0,
        maximum=1024,
    )


def own_threads(services: int, environ: Mapping[str, str] | None = None) -> int:
    """Threads of this process: as PEQUOD_THREADS says, else its share among ``services``.

    Raises SettingsError on a bad value.
    """
    return from_environment(ThreadSettings, environ).threads or threads_for(services)


def threads_for(services: int, cores: int | None = None) -> int:
    """Threads for each of ``services`` processes that share ``cores`` (default: all we may use); at least 1.

    Two OpenMP runtimes that each take all cores were measured 6-10 times slower.
    """
    if services < 1:
        raise ValueError(f"services={services}: at least 1 is needed")
    return max(1, (available_cores() if cores is None else cores) // services)


def available_cores() -> int:
    """Cores this process may use: its CPU affinity, lowered by the CPU quota of its cgroups; at least 1."""
    # macOS has no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def cgroup_quota(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> float | None:
    """Cores that the tightest CPU quota of this process's cgroups allows; None without a quota."""
    quotas = [
        quota
        for folder in _cgroup_folders(cgroups, own)
        for quota in (_quota_v2(folder), _quota_v1(folder))
        if quota is not None
    ]
    return min(quotas, default=None)


def cap_threads(threads: int) -> None:
    """Hold every native thread pool of this process, loaded now or later, to ``threads``, and log it.

    Call it first thing in a process. torch is not imported for it; ONNX Runtime sessions get
    their cap from ``open_runtime(..., threads=...)``.
    """
    if threads < 1:
        raise ValueError(f"threads={threads}: at least 1 is needed")
    os.environ.update(thread_variables(threads))
    threadpool_limits(limits=threads)
    _cap_torch(threads)
    log.info("threads capped", extra={"threads": threads, "cores": available_cores()})


def thread_variables(threads: int) -> dict[str, str]:
    """The environment of a process that is to have so many threads."""
    return dict.fromkeys(_VARIABLES, str(threads))


def _cap_torch(threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_num_threads(threads)
    try:
        torch.set_num_interop_threads(1)
    except RuntimeError:
        # Allowed only before the first parallel work; torch keeps its pool then.
        log.warning("torch had begun parallel work: its inter-op threads stay as they are")


def _cgroup_folders(cgroups: Path, own: Path) -> list[Path]:
    """Folders that may hold a quota of ours: our cgroup and all above it, in both cgroup versions."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / "cpu" if controllers else cgroups
        path = PurePosixPath(name)
        folders += [root.joinpath(*at.parts[1:]) for at in (path, *path.parents)]
    return folders


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
