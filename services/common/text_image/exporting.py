"""The graphs of text-image embedders for exporters, without importing torch before it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from services.common.errors import unsupported
from services.common.export.graph import GraphSpec
from services.common.store import ModelVersion


def graphs_of_embedder(version: ModelVersion, folder: Path) -> Mapping[str, GraphSpec]:
    """The same that the tokenizer service makes. FAILED_PRECONDITION without torch or transformers."""
    try:
        from services.common.text_image.graphs import clip_graphs
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return clip_graphs(folder)
