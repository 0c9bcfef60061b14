"""Family diffusers: directories of Stable Diffusion, SDXL and Flux, run by PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import unsupported
from services.common.export.graph import GraphSpec
from services.diffusion.engine import Model
from services.diffusion.loading.opening import Opening


def load(opening: Opening) -> Model:
    """The pipeline. FAILED_PRECONDITION without torch, transformers or diffusers."""
    try:
        from services.diffusion.pipelines.opening import open_pipeline
    except ModuleNotFoundError as error:
        raise unsupported(f"pipelines need {error.name}: install the 'train' extra") from None
    return open_pipeline(opening.folder, opening.placement, opening.version.name)


def graphs(config: Mapping[str, Any], folder: Path) -> Mapping[str, GraphSpec]:
    """The UNet's or transformer's. FAILED_PRECONDITION without torch or diffusers."""
    try:
        from services.diffusion.pipelines import exporting
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return exporting.graphs(folder)
