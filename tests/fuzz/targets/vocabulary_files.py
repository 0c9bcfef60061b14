"""word2vec files, binary and text, and tables of ranks as tiktoken has them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from services.common.store.safety import check_format, word_vectors_header
from services.tokenizer.families import tiktoken, word2vec
from tests.fuzz.loading import loaded

REFUSALS = ()
WORDS = (
    *rb"""
        nan 1e999 -1
    """.split(),
    *(
        b"2 3\n",
        b"YQ== 0\n",
        b"1000000 1000000\n",
        b"0 0\n",
        b" ",
        b"\r\n",
        b"\x80\x04",
    ),
)
_PATTERN = r"\p{L}+|\s+|."


def run(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    with tempfile.TemporaryDirectory() as name, loaded():
        folder = Path(name)
        if kind == b"r":
            (folder / tiktoken.RANKS_FILE).write_bytes(content)
            encoding = tiktoken.load({"pattern": _PATTERN, "special_tokens": {}}, folder, None)
            encoding.vocabulary_size  # noqa: B018  # asked for to be computed
            return
        file = folder / ("a.bin" if kind == b"b" else "a.txt")
        file.write_bytes(content)
        check_format(file)
        if header := word_vectors_header(file):
            config = {"file": file.name, "words": header[0], "dimensions": header[1]}
            word2vec.load(config, folder, lambda _, build: _built(folder / "kept", build))


def _built(target: Path, build) -> Path:
    target.mkdir()
    build(target)
    return target


def seeds() -> Iterable[bytes]:
    vector = np.array([0.5, 1, -2], "<f4").tobytes()
    yield b"b2 3\na " + vector + b"b " + vector
    yield b"b2 3\na " + vector + b"\nb " + vector + b"\n"
    yield b"t2 3\na 0.5 1 -2\nb 1 2 3\n"
    yield b"rYQ== 0\nYg== 1\nYWI= 2\n"
