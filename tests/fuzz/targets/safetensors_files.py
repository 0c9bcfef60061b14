"""Files of safetensors: what a look at the header says, and models of n-grams and words read from them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from services.common.store.safety import check_format
from services.diffusion.pipelines.directory import _numbers
from services.sampler.families import ngram
from services.sampler.ngrams.tensors import map_tensor
from services.tokenizer.families import int8_rows
from tests.fuzz.loading import loaded

REFUSALS = ()
WORDS = tuple(
    rb"""
        "dtype" "shape" "data_offsets" [0,4] "F32" "I8" "BF16" "BOOL" "__metadata__" "vectors" "scales"
        "symbols" "order1.symbols" "order1.counts" "order1.children" [-1]
    """.split()
)
_SHANNON = {"order": 1, "alphabet": {"kind": "shannon"}}


def run(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    with tempfile.TemporaryDirectory() as name, loaded():
        folder = Path(name)
        file = folder / {b"w": int8_rows.VECTORS_FILE, b"n": ngram.COUNTS_FILE}.get(kind, "a.safetensors")
        file.write_bytes(content)
        check_format(file)
        if kind == b"w":
            (folder / int8_rows.WORDS_FILE).write_bytes(b"a\nb")
            int8_rows.load({}, folder, None)
        elif kind == b"n":
            ngram.load(_SHANNON, folder, None)
        elif kind == b"m":
            map_tensor(file, "symbols")
        else:
            _numbers(file)


def seeds() -> Iterable[bytes]:
    rows = {"vectors": np.ones((2, 3), np.int8), "scales": np.ones(2, np.float32)}
    counts = {f"order1.{name}": np.array([1, 2], np.int16) for name in ("symbols", "counts", "children")}
    yield b"w" + save(rows)
    yield b"n" + save(counts)
    yield b"m" + save({"symbols": np.arange(5, dtype=np.uint8)})
    yield b"h" + save({"a": np.ones((2, 2), np.float32)}, {"format": "pt"})
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    yield b"h" + len(header).to_bytes(8, "little") + header + bytes(4)
