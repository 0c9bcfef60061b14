"""Vectors of words: neighbours and analogies by exact search, one product with all vectors a question.

Mikolov, Yih, Zweig, "Linguistic Regularities in Continuous Space Word Representations", 2013 (addition);
Levy, Goldberg, "Linguistic Regularities in Sparse and Explicit Word Representations", 2014 (multiplication).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.tokenizer.words.vocabulary import Vocabulary

Floats = npt.NDArray[np.float32]

_EPSILON = 0.001
"""Added to the denominator of 3CosMul, as in the paper."""


class Found(NamedTuple):
    """A word found: its number, and how well it fits."""

    number: int
    score: float


@dataclass(frozen=True, eq=False)
class WordVectors:
    """``unit``: vectors of length 1, shape [words, dimensions]. ``norms``: their lengths as trained, [words].

    Both may be mapped from disk. A word whose vector is zero has the norm 0 and is like nothing.
    """

    vocabulary: Vocabulary
    unit: Floats
    norms: Floats

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return int(self.unit.shape[1])

    def vector(self, number: int) -> Floats:
        """The vector of a word in the length it was trained to."""
        return np.asarray(self.unit[number] * self.norms[number])

    def mean(self, numbers: Sequence[int]) -> Floats:
        """The mean of the words' vectors."""
        vectors = self.unit[list(numbers)] * self.norms[list(numbers), None]
        return np.asarray(vectors.mean(axis=0), np.float32)

    def compare(self, first: int, second: int) -> tuple[float, float]:
        """Dot product of two words' vectors as trained, and their cosine."""
        cosine = float(self.unit[first].astype(np.float64) @ self.unit[second].astype(np.float64))
        return cosine * float(self.norms[first]) * float(self.norms[second]), min(max(cosine, -1.0), 1.0)

    def near(self, vector: Floats, limit: int, exclude: Collection[int]) -> list[Found]:
        """The ``limit`` words of the largest cosine with ``vector``; none when it is zero."""
        if not vector.any():
            return []
        # Rounding makes some products of unit vectors larger than 1.
        return self._best(np.clip(self.unit @ _normalised(vector), -1.0, 1.0), limit, exclude)

    def add(self, positive: Sequence[int], negative: Sequence[int], limit: int) -> list[Found]:
        """The words nearest to the sum of unit vectors, positive minus negative; none of those given."""
        times = Counter(positive)  # in whole numbers, so that what is added and taken away leaves nothing
        times.subtract(negative)
        target = np.array([*times.values()], np.float32) @ self.unit[[*times]]
        return self.near(target, limit, {*positive, *negative})

    def multiply(self, positive: Sequence[int], negative: Sequence[int], limit: int) -> list[Found]:
        """The words of the largest product of similarities to ``positive`` over that to ``negative``."""
        likeness = (1.0 + self.unit @ self.unit[[*positive, *negative]].T) / 2.0
        above = likeness[:, : len(positive)].prod(axis=1)
        below = likeness[:, len(positive) :].prod(axis=1)
        return self._best(above / (below + _EPSILON), limit, {*positive, *negative})

    def _best(self, scores: Floats, limit: int, exclude: Collection[int]) -> list[Found]:
        """Best first; equal scores by frequency."""
        scores = scores.copy()
        scores[list(exclude)] = -np.inf
        kept = min(limit, len(scores) - len(set(exclude)))
        if kept <= 0:
            return []
        threshold = np.partition(scores, -kept)[-kept]
        candidates = np.flatnonzero(scores >= threshold)
        best = candidates[np.argsort(-scores[candidates], kind="stable")][:kept]
        return [Found(int(number), float(scores[number])) for number in best]


def _normalised(vector: Floats) -> Floats:
    precise = vector.astype(np.float64)  # the squares of small and of large numbers are no 32-bit numbers
    return np.asarray(precise / np.linalg.norm(precise), np.float32)


def as_vector(values: Sequence[float]) -> Floats:
    """Numbers from a request as a vector."""
    return np.array(values, np.float32)
