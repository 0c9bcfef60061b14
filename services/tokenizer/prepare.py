"""Exports the shipped encoders at set-up, so that serving them needs no torch.

python -m services.tokenizer.prepare --models models
"""

from __future__ import annotations

from pathlib import Path

from services.common.export.exporter import StoreExporter, family_graphs
from services.common.store import ModelStore
from services.common.store.preparing import Make, run
from services.tokenizer import families
from services.tokenizer.encoders.opening import ENCODERS, Device, EncoderOpener


def maker(models: Path, store: ModelStore) -> Make:
    """Makes and checks a model's graphs, in the store's own folder ``exports``."""
    exporter = StoreExporter(models, family_graphs(families))
    return EncoderOpener(store, exporter, Device("cpu", threads=1)).derive


if __name__ == "__main__":
    run(__doc__, ENCODERS, maker)
