"""Exports the shipped GANs at set-up, so that serving them needs no torch.

python -m services.gan.prepare --models models
"""

from __future__ import annotations

from pathlib import Path

from services.common.export.exporter import StoreExporter
from services.common.store import Kind, ModelStore, ModelVersion
from services.common.store.preparing import Make, run
from services.gan.loading.exporting import graphs_of

SHIPPED = frozenset({Kind.GAN})


def maker(models: Path, store: ModelStore) -> Make:
    """Makes and checks a model's graphs, in the store's own folder ``exports``."""
    exporter = StoreExporter(models, graphs_of)

    def make(version: ModelVersion, folder: Path) -> None:
        exporter.export(version, folder, "onnx", False, lambda done, total, message: None)

    return make


if __name__ == "__main__":
    run(__doc__, SHIPPED, maker)
