"""Workloads of bench_embed: English texts of exact lengths in tokens."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

SHORT = 16
MIXED = (8, 256)
_AROUND = 2
"""Special tokens that the model adds."""


class Texts:
    """Running text from the books in ``corpus``, or from the words of the shipped word vectors."""

    def __init__(self, corpus: Path, models: Path, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self._tokenizer = Tokenizer.from_file(str(models / "minilm/1/tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        books = [path.read_text(encoding="utf-8") for path in sorted(corpus.glob("*.txt"))]
        self.origin = f"{len(books)} books" if books else "random words"
        self._text = "\n".join(books) if books else self._words(models / "words/1/words.txt")

    def short(self, count: int) -> list[str]:
        """Texts of 16 tokens, special ones included."""
        return self._exact([SHORT] * count)

    def mixed(self, count: int) -> list[str]:
        """Texts of 8..256 tokens, every length as likely as another, in no order."""
        lowest, highest = MIXED
        lengths = [lowest + (highest - lowest) * at // max(1, count - 1) for at in range(count)]
        self._rng.shuffle(lengths)
        return self._exact(lengths)

    def usual(self, count: int) -> list[str]:
        """Texts of 24 tokens in the mean, few of them long: the logarithm of the length is normal."""
        drawn = (round(self._rng.lognormvariate(2.9, 0.75)) for _ in range(count))
        return self._exact(min(max(length, 4), 256) for length in drawn)

    def pieces(self, count: int, size: int) -> list[str]:
        """Texts of ``size`` characters."""
        starts = [self._rng.randrange(len(self._text) - size) for _ in range(count)]
        return [self._text[start : start + size] for start in starts]

    def tokens(self, texts: Iterable[str]) -> int:
        """How many tokens the model reads of them."""
        return sum(len(each.ids) for each in self._tokenizer.encode_batch_fast(list(texts)))

    def _exact(self, lengths: Iterable[int]) -> list[str]:
        return [self._of_length(length) for length in lengths]

    def _of_length(self, length: int) -> str:
        """From the beginning of a sentence, as far as ``length`` tokens reach, ending with a whole word."""
        inner = length - _AROUND
        while True:
            begin = self._text.find(". ", self._rng.randrange(len(self._text))) + 2
            window = self._text[begin : begin + 8 * length + 64]
            cut = self._tokenizer.encode(window, add_special_tokens=False)
            if len(cut.ids) <= inner or cut.word_ids[inner - 1] == cut.word_ids[inner]:
                continue
            text = window[: cut.offsets[inner - 1][1]]
            if len(self._tokenizer.encode(text).ids) == length:
                return text

    def _words(self, file: Path) -> str:
        words = file.read_text(encoding="utf-8").split()
        sentences = (" ".join(self._rng.choices(words, k=12)) for _ in range(20_000))
        return ". ".join(sentences)
