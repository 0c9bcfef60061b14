"""What an exporter owes ModelService: a model in another runtime's format, with the figures of its check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from services.common.store import FileEntry, ModelVersion

Step = Callable[[int, int, str], None]
"""Takes (steps done, steps in all, what is being done)."""


@dataclass(frozen=True)
class ParityFigure:
    """One output of an export compared with eager's on the same inputs."""

    output: str
    max_abs_error: float
    min_cosine: float
    tolerance: float


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    location: Path
    files: tuple[FileEntry, ...]
    parity: tuple[ParityFigure, ...] = ()
    opset: int = 0
    runtime_versions: Mapping[str, str] = field(default_factory=dict)
    reused: bool = False


class Exporter(Protocol):
    """Exports a version; blocking, called in a thread."""

    def export(self, version: ModelVersion, folder: Path, target: str, force: bool, step: Step) -> Exported:
        """``target``: onnx, torchscript or triton. Raises ServiceError: UNSUPPORTED, PARITY_FAILED."""
