"""What opening a model needs beside its files, the same for every family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.common.runtimes import Runtime, open_runtime
from services.common.store import ModelVersion
from services.diffusion.pipelines.placement import Placement


@dataclass(frozen=True)
class Opening:
    """Files of a version, and how it is to run."""

    version: ModelVersion
    folder: Path
    exported: Callable[[], Path]
    """Exports the version's graphs, unless they are kept, and says where they lie."""
    placement: Placement
    threads: int

    @property
    def providers(self) -> tuple[str, ...] | None:
        """What to demand of a runtime; None leaves it to the runtime."""
        return None if self.placement.device == "auto" else (self.placement.device,)

    def open(self, file: Path) -> Runtime:
        """Open one graph."""
        return open_runtime(file, threads=self.threads, providers=self.providers)
