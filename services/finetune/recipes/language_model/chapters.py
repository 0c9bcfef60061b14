"""Cuts books into chapters and holds some of every book out, the same ones for every recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_NUMBERED = re.compile(r"(?:(?:Volume|Book|Part|Letter|Chapter|Canto)\s+)?[IVXLC]+(?:\n.*)?")
_TITLE = re.compile(r"[A-Z“\u2018][^\n]{2,60}[^\s.,;:!?”\u2019—]")
_LONG = 200
"""Characters from which a block is a paragraph that a title may stand above."""
_FEWEST_NUMBERED = 5
_EVERY = 30
_FIRST = 20


@dataclass(frozen=True)
class Split:
    """Chapters to learn from and chapters never learnt from."""

    train: Sequence[str]
    held_out: Sequence[str]


def split(texts: Sequence[str]) -> Split:
    """Of every text chapters 20, 50, 80, ... are held out; of a shorter one that after two thirds."""
    train: list[str] = []
    held_out: list[str] = []
    for text in texts:
        parts = chapters(text)
        places = set(range(_FIRST, len(parts), _EVERY)) or {len(parts) * 2 // 3}
        for place, part in enumerate(parts):
            (held_out if place in places and len(parts) > 1 else train).append(part)
    return Split(train, held_out)


def chapters(text: str) -> list[str]:
    """A text cut before its numbered headings, or before its titles where too few are numbered.

    Blocks are separated by blank lines; headings that follow each other stay together.
    """
    blocks = text.split("\n\n")
    headings = [bool(_NUMBERED.fullmatch(block)) for block in blocks]
    if sum(headings) < _FEWEST_NUMBERED:
        following = [*blocks[1:], ""]
        headings = [
            bool(_TITLE.fullmatch(block)) and len(after) > _LONG
            for block, after in zip(blocks, following, strict=True)
        ]
    begins = [
        place for place, heading in enumerate(headings) if heading and not (place and headings[place - 1])
    ]
    edges = [0, *(place for place in begins if place), len(blocks)]
    return ["\n\n".join(blocks[start:end]) for start, end in pairwise(edges)]
