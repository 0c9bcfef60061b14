"""The graphs that a model leaves with for other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.common.errors import unsupported
from services.common.export.exporter import family_graphs
from services.common.export.graph import GraphSpec
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelVersion
from services.sampler import families
from services.sampler.transformer.model.directory import NoFamily

_ngram_graphs = family_graphs(families)


def graphs_of(version: ModelVersion, folder: Path) -> Mapping[str, GraphSpec]:
    """The graphs of a version whose files are in ``folder``. Raises UNSUPPORTED or LOAD_FAILED."""
    if version.manifest.kind != Kind.LANGUAGE_MODEL:
        return _ngram_graphs(version, folder)
    from services.sampler.transformer.onnx.graphs import exporting

    with load_failures(version):
        try:
            return exporting.graphs(folder)
        except NoFamily as error:
            raise unsupported(
                f"model {version} runs by Transformers' own code, which is not exported"
            ) from error
