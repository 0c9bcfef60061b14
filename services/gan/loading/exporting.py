"""The graphs that models leave with, and are run from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.common.errors import unsupported
from services.common.export.graph import GraphSpec
from services.common.store import ModelVersion


def graphs_of(version: ModelVersion, folder: Path) -> Mapping[str, GraphSpec]:
    """Mapping, synthesis and discriminator of a GAN. FAILED_PRECONDITION without torch."""
    try:
        from services.gan.torch import graphs
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return graphs.graphs_of(version.manifest.family, version.manifest.config, folder)


def graphs_of_upscaler(version: ModelVersion, folder: Path) -> Mapping[str, GraphSpec]:
    """The same that the diffusion service makes. FAILED_PRECONDITION without torch."""
    if version.manifest.family != "upscaler":
        raise unsupported(f"{version} is of family {version.manifest.family!r}; upscaler is known")
    try:
        from services.common.upscaling.graphs import upscaler_graph
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return {"upscaler": upscaler_graph(version.manifest.config, folder)}
