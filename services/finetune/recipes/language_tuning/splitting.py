"""What of the documents is kept back to measure on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.finetune.recipes.language_tuning.documents import Document, of_text

_FEW = 20
"""Of fewer documents the ends of long texts are kept back, and not whole ones."""
_LONG = 2000
"""Characters of a text that may be parted."""

Parts = tuple[list[Document], list[Document]]


def split(documents: Sequence[Document], share: float, seed: int) -> Parts:
    """(learnt, held out), the same for the same seed; a lone short document is both."""
    if len(documents) < _FEW:
        parted = [_parted(each, share) for each in documents]
        if any(held_out for _, held_out in parted):
            return _joined([each for each, _ in parted]), _joined([each for _, each in parted])
        return list(documents[:-1]) or list(documents), list(documents[-1:])
    order = np.random.default_rng(seed).permutation(len(documents))
    kept_back = {int(each) for each in order[: max(1, round(share * len(documents)))]}
    learnt = [each for place, each in enumerate(documents) if place not in kept_back]
    return learnt, [documents[place] for place in sorted(kept_back)]


def _parted(document: Document, share: float) -> tuple[Document, Document | None]:
    """A long text and its end, which begins with a word."""
    if document.is_chat or len(document.text) < _LONG:
        return document, None
    cut = document.text.find(" ", int(len(document.text) * (1 - max(share, 0.01))))
    if cut < 0:
        return document, None
    return of_text(document.text[:cut]), of_text(document.text[cut + 1 :])


def _joined(documents: Sequence[Document | None]) -> list[Document]:
    return [each for each in documents if each is not None]
