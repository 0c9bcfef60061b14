"""The tokens a model's template puts around a text, or around a pair, found by looking at an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tokenizers import Tokenizer

Segment = tuple[tuple[int, int], ...]
"""(id, type id) of each token."""


class Wrapped(NamedTuple):
    """What a model reads."""

    ids: list[int]
    type_ids: list[int]


@dataclass(frozen=True)
class Template:
    """``prefix`` text ``suffix``; for a pair ``prefix`` first ``middle`` second ``suffix``."""

    prefix: Segment = ()
    middle: Segment = ()
    suffix: Segment = ()
    type_ids: tuple[int, int] = (0, 0)
    """Of the first text and of the second."""

    @property
    def size(self) -> int:
        """Tokens it adds."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def wrap(self, *texts: Sequence[int]) -> Wrapped:
        """One text, or two where this is the template of pairs, with what belongs around them."""
        borders = (self.prefix, self.middle, self.suffix) if len(texts) == 2 else (self.prefix, self.suffix)
        ids = [token for token, _ in borders[0]]
        types = [kind for _, kind in borders[0]]
        for text, kind, border in zip(texts, self.type_ids, borders[1:], strict=False):
            ids += [*text, *(token for token, _ in border)]
            types += [kind] * len(text) + [each for _, each in border]
        return Wrapped(ids, types)


def template_of(tokenizer: Tokenizer) -> Template:
    """The template of single texts."""
    return _probe(tokenizer, 1)


def pair_template_of(tokenizer: Tokenizer) -> Template:
    """The template of pairs."""
    return _probe(tokenizer, 2)


def _probe(tokenizer: Tokenizer, texts: int) -> Template:
    """Encode ordinary words and read which tokens are not theirs.

    Raises ValueError for a tokenizer that makes no tokens of them.
    """
    try:
        encoding = tokenizer.encode("a", "a") if texts == 2 else tokenizer.encode("a")
    except Exception as error:  # the binding raises Exception itself
        raise ValueError(f"the tokenizer cannot cut the text 'a': {error}") from None
    rows = list(zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True))
    borders: list[Segment] = []
    kinds: list[int] = []
    before = 0
    for text in range(texts):
        places = [place for place, row in enumerate(rows) if row[2] == text]
        if not places:
            raise ValueError("the tokenizer makes no token of the text 'a'")
        borders.append(_segment(rows[before : places[0]]))
        kinds.append(rows[places[0]][1])
        before = places[-1] + 1
    borders.append(_segment(rows[before:]))
    middle = borders[1] if texts == 2 else ()
    return Template(borders[0], middle, borders[-1], (kinds[0], kinds[-1]))


def _segment(rows: Sequence[tuple[int, int, int | None]]) -> Segment:
    return tuple((token, kind) for token, kind, _ in rows)
