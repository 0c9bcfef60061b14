"""Documents as rows of tokens: cut at the window, short ones beside each other, each seeing itself alone.

Rows are filled by best fit, the longest pieces first. A token is learnt from those before it in its piece.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.finetune.recipes.language_tuning.documents import Document

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Piece:
    """A document, or a part of one."""

    ids: Ids
    learnt: npt.NDArray[np.bool_]
    """Which tokens are to be said."""


@dataclass(frozen=True)
class Rows:
    """Of ``window`` places each; [n, window]."""

    ids: Ids
    learnt: npt.NDArray[np.bool_]
    piece: Ids
    """Number of the piece in its row, from 1; 0: nothing is there."""
    position: Ids
    """Of a token in its piece."""

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, places: Sequence[int]) -> Rows:
        """Some of them."""
        chosen = list(places)
        return Rows(self.ids[chosen], self.learnt[chosen], self.piece[chosen], self.position[chosen])

    @property
    def tokens(self) -> int:
        """Those that are learnt."""
        return int(self.learnt.sum())


def pieces_of(documents: Sequence[Document], tokenizer: Any, window: int) -> list[Piece]:
    """Documents in tokens, each with the tokenizer's own around it and its end token after it, cut.

    Pieces without anything to learn are left out.
    """
    return [each for document in documents for each in _pieces(document, tokenizer, window)]


def packed(pieces: Sequence[Piece], window: int, apart: bool) -> Rows:
    """``apart``: one piece a row, for models in which pieces of a row would see each other.

    Raises ValueError where there are none.
    """
    if not pieces:
        raise ValueError("the texts hold nothing to learn: a piece has two tokens at least")
    filled = [[each] for each in pieces] if apart else _filled(pieces, window)
    shape = (len(filled), window)
    numbers = [np.zeros(shape, np.int64) for _ in range(3)]
    rows = Rows(numbers[0], np.zeros(shape, np.bool_), numbers[1], numbers[2])
    for place, several in enumerate(filled):
        begin = 0
        for number, piece in enumerate(several, start=1):
            end = begin + len(piece.ids)
            rows.ids[place, begin:end] = piece.ids
            rows.learnt[place, begin:end] = piece.learnt
            rows.piece[place, begin:end] = number
            rows.position[place, begin:end] = np.arange(len(piece.ids))
            begin = end
    return rows


def _filled(pieces: Sequence[Piece], window: int) -> list[list[Piece]]:
    rows: list[list[Piece]] = []
    room: list[tuple[int, int]] = []  # (left, row), sorted
    for piece in sorted(pieces, key=lambda each: -len(each.ids)):
        size = len(piece.ids)
        at = bisect_left(room, (size, -1))
        if at == len(room):
            rows.append([])
            left, row = window, len(rows) - 1
        else:
            left, row = room.pop(at)
        rows[row].append(piece)
        insort(room, (left - size, row))
    return rows


def _pieces(document: Document, tokenizer: Any, window: int) -> Iterator[Piece]:
    ids, learnt = _tokens(document, tokenizer)
    # A part begins with the last token of the one before, so that every token but the first is learnt once.
    for begin in range(0, len(ids) - 1, window - 1):
        part = slice(begin, begin + window)
        piece = Piece(np.array(ids[part], np.int64), np.array(learnt[part], np.bool_))
        piece.learnt[0] = False
        if piece.learnt.any():
            yield piece


def _tokens(document: Document, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """A template writes all tokens of a conversation itself; texts get those around them."""
    coded = tokenizer(
        document.text,
        add_special_tokens=not document.is_chat,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,  # of texts that are longer than the window, which are cut here
    )
    ids = list(coded["input_ids"])
    learnt = [
        any(begin <= start < end for begin, end in document.spans) for start, _ in coded["offset_mapping"]
    ]
    end = tokenizer.eos_token_id
    if not document.is_chat and end is not None and ids[-1:] != [end]:
        return [*ids, end], [*learnt, True]
    return ids, learnt
