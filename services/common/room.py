"""Disks without room: how they are noticed, and what a caller is told."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from services.common.errors import Code, Reason, ServiceError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException) -> bool:
    """Whether ``error`` says that a disk, a quota or the size of a file is at its end."""
    return isinstance(error, OSError) and error.errno in _FULL


def disk_full(what: str) -> ServiceError:
    """RESOURCE_EXHAUSTED: ours, not the caller's quota; what was kept before stays."""
    return ServiceError(Code.RESOURCE_EXHAUSTED, Reason.DISK_FULL, f"no space left on the disk for {what}")


@contextlib.contextmanager
def room_for(what: str) -> Iterator[None]:
    """Turn a full disk into RESOURCE_EXHAUSTED, which says for what there was no room."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise disk_full(what) from error
        raise
