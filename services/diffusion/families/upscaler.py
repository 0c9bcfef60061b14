"""Family upscaler: a network that doubles a picture, as recipe train_upscaler leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import unsupported
from services.common.export import read_export
from services.common.export.graph import GraphSpec
from services.common.upscaling.doubling import DoublingUpscaler
from services.diffusion.loading.opening import Opening

BYTES_PER_FILE_BYTE = 3.0
"""In memory: weights of 16 bits as 32, packed."""


def load(opening: Opening) -> DoublingUpscaler:
    """The upscaler. Raises ValueError or OSError when the files make none."""
    folder = opening.exported()
    (graph,) = read_export(folder).graphs.values()
    return DoublingUpscaler(opening.version.name, opening.open(folder / graph.file))


def graphs(config: Mapping[str, Any], folder: Path) -> dict[str, GraphSpec]:
    """Its graph. FAILED_PRECONDITION without torch."""
    try:
        from services.common.upscaling.graphs import upscaler_graph
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return {"upscaler": upscaler_graph(config, folder)}
