"""Family clip: texts and pictures in one space. Radford, Kim, Hallacy and others, 2021."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import unsupported
from services.common.export.graph import GraphSpec
from services.tokenizer.encoders.family import BYTES_PER_FILE_BYTE

__all__ = ["BYTES_PER_FILE_BYTE", "graphs"]


def graphs(config: Mapping[str, Any], folder: Path) -> dict[str, GraphSpec]:
    """The graphs of the model in ``folder``. FAILED_PRECONDITION without torch or transformers."""
    try:
        from services.common.text_image.graphs import clip_graphs
    except ModuleNotFoundError as error:
        raise unsupported(f"exporting needs {error.name}: install the 'train' extra") from None
    return dict(clip_graphs(folder))
