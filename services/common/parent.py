"""A process that does not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent: int | None = None) -> None:
    """Ask Linux for SIGTERM when the thread that started us ends, even by kill -9; elsewhere, do nothing.

    ``parent``: its process; SIGTERM comes at once when that is dead already. To be called by the process
    itself, or between fork and exec (``preexec_fn``).
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
