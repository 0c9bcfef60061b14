"""What a language model has to beat: Kneser-Ney n-grams over the same tokens, at their best order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.sampler.families.ngram import Ngram
from services.sampler.ngrams.alphabet import Alphabet
from services.sampler.ngrams.chain import NgramOptions, Smoothing
from services.sampler.ngrams.trie import count_levels


def kneser_ney_bits(
    train: Sequence[npt.NDArray[np.integer]],
    held_out: Sequence[npt.NDArray[np.integer]],
    alphabet: Alphabet,
    longest: int,
) -> dict[int, float]:
    """Bits that the held-out texts cost in all, by order 2 .. ``longest``.

    The first token of a text is not counted, as it is not for a model that has nothing before it.
    """
    model = Ngram(alphabet, count_levels([ids.astype(np.int64) for ids in train], alphabet.size, longest))
    bits = {}
    for order in range(2, longest + 1):
        chain = model.chain(NgramOptions(order, Smoothing.KNESER_NEY))
        texts = (ids.astype(np.int64) for ids in held_out)
        probabilities = [chain.score(ids, 1, ids.size).probabilities for ids in texts]
        bits[order] = -float(np.log2(np.concatenate(probabilities)).sum())
    return bits
