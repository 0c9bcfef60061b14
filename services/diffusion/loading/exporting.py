"""The graphs that models leave with, and are run from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.common.errors import unsupported
from services.common.export.exporter import family_graphs
from services.common.export.graph import GraphSpec
from services.common.store import Kind, ModelVersion
from services.diffusion import families

_graphs = family_graphs(families)


def graphs_of(version: ModelVersion, folder: Path) -> Mapping[str, GraphSpec]:
    """The graphs of a version whose files are in ``folder``. Raises UNSUPPORTED or LOAD_FAILED."""
    if version.manifest.kind == Kind.ADAPTER:
        raise unsupported(f"{version} is an adapter: its model's graph takes it as an input")
    return _graphs(version, folder)
