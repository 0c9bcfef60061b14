"""The attributes that a conditional model knows, and what is stated of an image as the network reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from services.common.errors import invalid
from services.common.pictures.arrays import Array


class Vocabulary:
    """Words by attribute, one place of the vector each."""

    def __init__(self, pairs: Iterable[Sequence[str]]) -> None:
        """(attribute, word) of each place, in the network's order."""
        self._places = {(str(name), str(word)): place for place, (name, word) in enumerate(pairs)}
        self.words: dict[str, list[str]] = {}
        for name, word in self._places:
            self.words.setdefault(name, []).append(word)

    def __len__(self) -> int:
        return len(self._places)

    def vector(self, stated: Mapping[str, str], field: str) -> Array:
        """[words] of 0 and 1.

        A value may be cut short where only one word begins so: ``round`` for ``round glasses``.
        Raises INVALID_ARGUMENT naming ``field`` for what the model does not know, with what it knows.
        """
        row = np.zeros(len(self), np.float32)
        for name, word in stated.items():
            if name not in self.words:
                known = ", ".join(self.words) or "none, for the model is not conditional"
                raise invalid(field, f"there is no attribute {name!r}; known: {known}")
            row[self._places[name, self._word(name, word, field)]] = 1
        return row

    def _word(self, name: str, word: str, field: str) -> str:
        words = self.words[name]
        begun = [each for each in words if word and each.startswith(word)]
        if word in words:
            return word
        if len(begun) == 1:
            return begun[0]
        raise invalid(f"{field}[{name}]", f"is {word!r}; known: {', '.join(words)}")
