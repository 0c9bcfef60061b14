"""What ties a worker to others: the parent that nudges it, and the folder that it works in alone."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

_LOCK = ".worker"
_PATIENCE = 10.0
"""Seconds that a worker which was killed takes to be gone."""


def listen(call: Callable[[], None]) -> None:
    """Have ``call`` run when our parent writes a line to us; it ends with the parent.

    What we start ourselves finds nothing on its standard input.
    """
    lines, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(lines, 64):
            call()

    threading.Thread(target=wait, name="parent", daemon=True).start()


def take_folder(folder: Path, job_id: str) -> int:
    """Have a job's folder alone until this process ends; returns the lock's descriptor.

    A worker of the same job that still has it lost the job to us, for it did not answer: it is killed.
    Raises OSError when it does not go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    ends = time.monotonic() + _PATIENCE
    while not _locked(descriptor):
        _kill_holder(os.pread(descriptor, 32, 0), job_id)
        if time.monotonic() > ends:
            raise OSError(f"another worker of job {job_id} has its folder and cannot be ended")
        time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}".encode(), 0)
    return descriptor


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kill_holder(content: bytes, job_id: str) -> None:
    """Only a worker of this job on this machine: a number may be another process's by now."""
    if not content.isdigit():
        return
    try:
        command = Path(f"/proc/{int(content)}/cmdline").read_bytes().split(b"\0")
        if b"services.finetune.worker" in command and job_id.encode() in command:
            os.kill(int(content), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
