"""Family int8_rows: word vectors as 8-bit integers with one scale a word; what recipe word2vec makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from services.common.store.derived import Derive
from services.tokenizer.words.vectors import Floats, WordVectors
from services.tokenizer.words.vocabulary import Vocabulary, layout

VECTORS_FILE = "vectors.safetensors"
WORDS_FILE = "words.txt"
BYTES_PER_FILE_BYTE = 4.5
"""A number takes one byte in the file and four in memory."""


def load(config: Mapping[str, Any], folder: Path, derive: Derive) -> WordVectors:
    """The model in ``folder``; nothing needs to be derived from it. Raises ValueError when it is none."""
    try:
        tensors = load_file(folder / VECTORS_FILE)
    except SafetensorError as error:
        raise ValueError(f"{VECTORS_FILE} cannot be read: {error}") from None
    words = (folder / WORDS_FILE).read_bytes().split(b"\n")
    rows, scales = tensors["vectors"], tensors["scales"]
    if rows.ndim != 2 or rows.dtype != np.int8 or scales.shape != rows.shape[:1] or len(words) != len(rows):
        raise ValueError(
            f"vectors {rows.dtype}{list(rows.shape)}, scales {list(scales.shape)} and {len(words)} words "
            "do not fit together"
        )
    unit = rows.astype(np.float32)
    norms = np.linalg.norm(unit, axis=1)
    unit /= np.maximum(norms, 1e-30)[:, None]
    parts = layout(words)
    vocabulary = Vocabulary(parts["text"], parts["ends"], parts["order"], bool(config.get("lowercase")))  # type: ignore[arg-type]
    return WordVectors(vocabulary, unit, norms * scales)


def save(words: Sequence[str], vectors: Floats, folder: Path) -> None:
    """Write words, commonest first, and their vectors, shape [words, dimensions]."""
    scales = np.maximum(np.abs(vectors).max(axis=1), 1e-30) / 127
    rows = np.round(vectors / scales[:, None]).astype(np.int8)
    save_file({"vectors": rows, "scales": scales.astype(np.float32)}, folder / VECTORS_FILE)
    (folder / WORDS_FILE).write_bytes("\n".join(words).encode())
