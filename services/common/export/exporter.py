"""Exports model versions of a service and keeps them under the version's digest, for ModelService."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from services.common import families
from services.common.errors import unsupported
from services.common.export.graph import GraphSpec
from services.common.export.manifest import ExportManifest, Target, verify
from services.common.export.run import write_export
from services.common.export.tracing import tracing
from services.common.residency.export import Exported, ParityFigure, Step
from services.common.store import ModelVersion
from services.common.store.derived import derive

Graphs = Callable[[ModelVersion, Path], Mapping[str, GraphSpec]]
"""The graphs of a version whose files are in a folder. Raises UNSUPPORTED when it has none."""


def family_graphs(package: ModuleType) -> Graphs:
    """Graphs as the version's family in ``package`` gives them: ``graphs(config, folder)`` in its file."""

    def graphs(version: ModelVersion, folder: Path) -> Mapping[str, GraphSpec]:
        name = version.manifest.family
        build = getattr(families.load(package, name), "graphs", None)
        if build is None:
            raise unsupported(f"{version}: family {name!r} has no graph to export")
        made: Mapping[str, GraphSpec] = build(version.manifest.config, folder)
        return made

    return graphs


class StoreExporter:
    """The ``Exporter`` of ModelService. Exports lie in ``<root>/exports/<digest>/<target>/``.

    A kept export is returned after its hashes were checked; a damaged one is made again.
    """

    def __init__(self, root: Path, graphs: Graphs, kept: Sequence[Path] = ()) -> None:
        """``kept`` are roots with exports made at set-up, which are looked at first."""
        self._root = root
        self._kept = kept
        self._graphs = graphs

    def export(self, version: ModelVersion, folder: Path, target: str, force: bool, step: Step) -> Exported:
        """Export ``version``, whose files are in ``folder``; blocking.

        Raises FAILED_PRECONDITION with reason UNSUPPORTED for a family without graphs,
        EXPORT_FAILED or PARITY_FAILED; nothing is kept then, and what was kept before stays.
        """
        built = False

        def build(staged: Path) -> dict[str, Any]:
            nonlocal built
            built = True
            name = _file_name(version.name)
            with tracing():
                graphs = self._graphs(version, folder)
                write_export(graphs, staged, Target(target), name=name, source=version.digest, report=step)
            return {}

        location = derive(self._root, version.digest, target, build, force, self._kept)
        manifest = verify(location)
        return _exported(location, manifest, reused=not built)


def _file_name(model: str) -> str:
    """A model's name for files: the last part of ``hf:owner/name`` or ``file:/path``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", re.split(r"[:/]", model.rstrip("/"))[-1]) or "model"


def _exported(location: Path, manifest: ExportManifest, reused: bool) -> Exported:
    return Exported(
        location=location,
        files=manifest.files,
        parity=tuple(
            ParityFigure(
                output=figure.output if len(manifest.graphs) == 1 else f"{graph}/{figure.output}",
                max_abs_error=figure.max_abs_error,
                min_cosine=figure.min_cosine,
                tolerance=figure.tolerance,
            )
            for graph, exported in manifest.graphs.items()
            for figure in exported.parity
        ),
        opset=manifest.opset,
        runtime_versions=manifest.runtime_versions,
        reused=reused,
    )
