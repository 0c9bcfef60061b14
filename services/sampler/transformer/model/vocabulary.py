"""A language model's tokens: prompts begin as the model's tokenizer begins them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.sampler.ngrams.alphabet import Ids
from services.sampler.ngrams.tokens import Tokens


class Vocabulary(Tokens):
    """A ``tokenizer.json`` with its special tokens, and the token of an empty text."""

    def __init__(self, path: Path, bos: int | None) -> None:
        super().__init__(path)
        self.file = path
        self._bos = bos

    def encode(self, text: str) -> Ids:
        """Ids of ``text``, after the special tokens that the tokenizer puts before it."""
        ids = self._tokenizer.encode(text, add_special_tokens=True).ids if text else []
        if not ids and self._bos is not None:
            ids = [self._bos]
        return np.array(ids, np.int64)

    def encode_rendered(self, text: str) -> Ids:
        """Ids of a text that holds its special tokens already, written out."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)
