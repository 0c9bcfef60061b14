"""Word vectors as an embedder: a text stands for the mean of its words' vectors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from services.common.errors import ServiceError, invalid, unsupported
from services.tokenizer.engine import EmbedOptions, Floats, Input, Pooling, Precision, Row
from services.tokenizer.words.vectors import WordVectors

_WORD = re.compile(r"\S+")
_NO_LIMIT = 2**20


class WordEmbedder:
    """See ``services.tokenizer.engine.Embedder``. A row's ids are numbers of words."""

    normalize = False
    reads_pictures = False
    max_tokens = _NO_LIMIT
    precisions: tuple[Precision, ...] = (Precision.FP32,)
    prompts: Mapping[str, str] = {}

    def __init__(self, name: str, vectors: WordVectors) -> None:
        self.name = name
        self.vectors = vectors
        self.dimensions = vectors.dimensions

    def prepare(self, inputs: Sequence[Input], options: EmbedOptions) -> list[Row]:
        """The words between white space. Raises INVALID_ARGUMENT naming those that are not known."""
        if options.pooling not in (None, Pooling.MEAN) or options.prompt:
            raise unsupported(
                f"model {self.name!r} holds word vectors: it takes their mean and has no prompts"
            )
        return [Row(self._numbers(each)) for each in inputs]

    def run(self, rows: Sequence[Row], precision: Precision) -> Sequence[Floats]:
        """The mean of each row's words."""
        return [self.vectors.mean(row.ids) for row in rows]

    def close(self) -> None:
        """Mapped files close when the last array over them is gone."""

    def _numbers(self, given: Input) -> Sequence[int]:
        if given.ids is not None:
            return self._checked(given.field, given.ids)
        words = _WORD.findall(given.text)
        numbers = [self.vectors.vocabulary.number(word) for word in words]
        unknown = [word for word, number in zip(words, numbers, strict=True) if number is None]
        if unknown or not words:
            raise _unknown(f"{given.field}.text", unknown)
        return [number for number in numbers if number is not None]

    def _checked(self, field: str, ids: Sequence[int]) -> Sequence[int]:
        size = len(self.vectors.vocabulary)
        if not ids or max(ids) >= size:
            raise invalid(f"{field}.ids", f"must be 1 or more of the numbers of {size} words")
        return ids


def _unknown(field: str, words: Sequence[str]) -> ServiceError:
    if not words:
        return invalid(field, "holds no word")
    return invalid(field, f"not in the vocabulary: {', '.join(dict.fromkeys(words))}")
