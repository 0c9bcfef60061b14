"""What set-up does with shipped models that are served from graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.common.export.exporter import Graphs, StoreExporter
from services.common.store import ModelStore, ModelVersion
from services.common.store.preparing import Make


def exporting(graphs: Graphs) -> Callable[[Path, ModelStore], Make]:
    """Makes and checks a model's graphs, in the folder ``exports`` of the shipped store."""

    def maker(models: Path, store: ModelStore) -> Make:
        exporter = StoreExporter(models, graphs)

        def make(version: ModelVersion, folder: Path) -> None:
            exporter.export(version, folder, "onnx", False, lambda done, total, message: None)

        return make

    return maker
