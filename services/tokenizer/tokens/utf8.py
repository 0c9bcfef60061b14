"""Bytes and characters of UTF-8 text."""

from __future__ import annotations

import codecs

import numpy as np
import numpy.typing as npt


def byte_starts(text: str) -> npt.NDArray[np.int64]:
    """For each character of ``text`` its first byte, and at the end the number of bytes: [characters + 1]."""
    if text.isascii():
        return np.arange(len(text) + 1)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate([[0], np.cumsum(sizes)])


def incomplete(data: bytes) -> int:
    """Bytes at the end of ``data`` that begin a character without finishing it: 0..3."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data[-3:] if data.isascii() else data)
    held = decoder.getstate()[0]
    # Python waits after the first two bytes of a surrogate too, which are no character's beginning.
    return len(held) if held.decode(errors="replace") == "\ufffd" else 0
