"""Checkpoints on disk: whole or not at all, and never of a model that is broken."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from services.finetune.recipes.watching import Diverged


def save_checkpoint(file: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` beside ``file``, through to the disk, then rename; a kill leaves the old one.

    Raises Diverged where a number in it is none, OSError where there is no room; ``file`` stays then.
    """
    if (broken := next(_broken(state, ""), None)) is not None:
        raise Diverged(f"{broken} holds numbers that are none any more")
    partial = file.with_suffix(".partial")
    try:
        with partial.open("wb") as opened:
            noting = _Noting(opened)
            out: Any = noting  # all that torch asks of a file
            try:
                torch.save(dict(state), out)
            except RuntimeError:
                if noting.error is not None:  # torch has a word of its own for a full disk
                    raise noting.error from None
                raise
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class _Noting:
    """A file that remembers why a write failed."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _broken(state: Any, name: str) -> Iterator[str]:
    """Names of tensors in it that hold a NaN or an infinity."""
    if isinstance(state, Tensor):
        if state.is_floating_point() and not bool(torch.isfinite(state).all()):
            yield name
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _broken(value, f"{name}.{key}" if name else f"{key}")
    elif isinstance(state, list | tuple):
        for place, value in enumerate(state):
            yield from _broken(value, f"{name}.{place}")
