"""The token alphabet: any Hugging Face tokenizer.json, decoded without ever cutting a character."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel, DecodeStream

from services.sampler.ngrams.alphabet import Ids

_PRIMING = 8
"""Prompt tokens a decoder is told of: some vocabularies write a word's space only after another word."""

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokens:
    """The vocabulary of a tokenizer file as an alphabet."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self._byte_of = _bytes_of_characters() if isinstance(self._tokenizer.decoder, ByteLevel) else None

    @property
    def size(self) -> int:
        return self._size

    def normalise(self, text: str) -> str:
        return text

    def encode(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def piece(self, symbol: int) -> bytes:
        token = self._tokenizer.id_to_token(symbol)
        if token is None:
            return b""
        if byte := _BYTE_TOKEN.fullmatch(token):
            return bytes.fromhex(byte[1])
        if self._byte_of is not None and all(character in self._byte_of for character in token):
            return bytes(self._byte_of[character] for character in token)
        return str(self._tokenizer.decode([symbol], skip_special_tokens=False)).encode()

    def decoder(self, prompt: Ids) -> _TokenDecoder:
        return _TokenDecoder(self._tokenizer, prompt[-_PRIMING:].tolist())


class _TokenDecoder:
    """One sequence's decoder; the library holds the bytes of a character until it is whole."""

    def __init__(self, tokenizer: Tokenizer, prompt: list[int]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(ids=prompt, skip_special_tokens=True)

    def feed(self, ids: Sequence[int]) -> list[str]:
        return [self._stream.step(self._tokenizer, i) or "" for i in ids]


def _bytes_of_characters() -> dict[str, int]:
    """The byte each character stands for in byte-level BPE vocabularies (Radford et al., GPT-2, 2019).

    Printable bytes stand for themselves; the others follow in order from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + place): byte for place, byte in enumerate(others)}
