"""Family word2vec: a file of Google's format, binary or text, mapped from disk after one conversion.

A header line "words dimensions", then per word its spelling, a space and its vector: 32-bit floats,
little-endian (.bin), or decimal numbers and a line end.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from services.common.store.derived import Derive
from services.tokenizer.words.vectors import Floats, WordVectors
from services.tokenizer.words.vocabulary import Vocabulary, layout

BYTES_PER_FILE_BYTE = 0.1
"""Vectors and words stay on disk; a question touches them through the system's page cache."""

_LONGEST_WORD = 4096
_BLOCK = 1 << 20


def load(config: Mapping[str, Any], folder: Path, derive: Derive) -> WordVectors:
    """The vectors of the file in ``folder`` that ``config`` names. Raises ValueError where it breaks off."""
    source = folder / str(config["file"])
    kept = derive("word-vectors", lambda staged: _convert(source, staged))
    words, dimensions = (int(config[name]) for name in ("words", "dimensions"))
    text = _mapped(kept / "text", np.uint8, (-1,))
    ends = _mapped(kept / "ends", np.int64, (-1,))
    if len(ends) > words:
        raise ValueError(f"{source.name} holds {len(ends)} words, its first line says {words}")
    vocabulary = Vocabulary(text, ends, _mapped(kept / "order", np.int32, (-1,)))
    unit = _mapped(kept / "unit", np.float32, (len(ends), dimensions))
    return WordVectors(vocabulary, unit, _mapped(kept / "norms", np.float32, (-1,)))


def _mapped(file: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    return np.asarray(np.memmap(file, dtype, "r")).reshape(shape)


def _convert(source: Path, staged: Path) -> dict[str, Any]:
    """Words apart from vectors, vectors in rows of length 1; of a word that comes twice the first counts."""
    with source.open("rb") as opened:
        words, dimensions = (int(part) for part in opened.readline(64).split())
        if not words or not dimensions:
            raise ValueError(f"its first line says {words} words of {dimensions} dimensions")
        reader = _binary if source.suffix == ".bin" else _text
        seen: dict[bytes, None] = {}
        norms = array("f")  # grows with what is there, whatever the first line promises
        with (staged / "unit").open("wb") as unit:
            for word, vector in reader(opened, words, dimensions):
                norm = float(np.linalg.norm(vector.astype(np.float64)))
                if not math.isfinite(norm):
                    raise ValueError(f"the vector of {word.decode(errors='replace')!r} is not finite")
                if word not in seen:
                    norms.append(norm)
                    seen[word] = None
                    unit.write((vector / max(norm, 1e-30)).astype(np.float32).tobytes())
    for name, values in {**layout(list(seen)), "norms": np.array(norms, np.float32)}.items():
        (staged / name).write_bytes(values.tobytes())
    return {"words": len(seen), "dimensions": dimensions}


def _binary(opened: IO[bytes], words: int, dimensions: int) -> Iterator[tuple[bytes, Floats]]:
    size = 4 * dimensions
    held = b""
    at = 0
    for number in range(words):
        if len(held) - at < _LONGEST_WORD + size:
            held, at = held[at:] + opened.read(_BLOCK + size), 0
        space = held.find(b" ", at, at + _LONGEST_WORD)
        if space < 0 or len(held) < space + 1 + size:
            raise ValueError(f"it breaks off at word {number} of {words}")
        # Some writers end each vector with a line end.
        word = held[at:space].lstrip(b"\r\n")
        yield word, np.frombuffer(held, "<f4", dimensions, space + 1)
        at = space + 1 + size
    _check_end(held[at:] + opened.read(_BLOCK), words)


def _text(opened: IO[bytes], words: int, dimensions: int) -> Iterator[tuple[bytes, Floats]]:
    for number in range(words):
        parts = opened.readline().rstrip(b" \r\n").rsplit(b" ", dimensions)
        if len(parts) != dimensions + 1:
            raise ValueError(f"line {number + 2} of {words + 1} holds no word and {dimensions} numbers")
        try:
            with np.errstate(over="ignore"):  # what is too large for 32 bits is not finite
                vector = np.array(parts[1:], np.float32)
        except ValueError as error:
            raise ValueError(f"line {number + 2} of {words + 1}: {error}") from None
        yield parts[0], vector
    _check_end(opened.read(_BLOCK), words)


def _check_end(rest: bytes, words: int) -> None:
    if rest.strip():
        raise ValueError(f"its first line says {words} words, and more follow")
