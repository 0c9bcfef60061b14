"""Ranks images by a text-image embedder: how near their vectors are to that of the prompt."""

from __future__ import annotations

from collections.abc import Sequence as Rows

import numpy as np
from tokenizers import Tokenizer

from services.common.text_image.embedder import Floats, TextImageEmbedder, open_embedder, open_tokenizer
from services.diffusion.engine import Pixels
from services.diffusion.loading.opening import Opening


class ClipRanker:
    """Implements ``services.diffusion.engine.Ranker``."""

    def __init__(self, name: str, embedder: TextImageEmbedder, tokenizer: Tokenizer) -> None:
        self.name = name
        self._embedder, self._tokenizer = embedder, tokenizer

    def scores(self, prompt: str, pictures: Rows[Pixels]) -> Rows[float]:
        """The cosine of text and picture, for each picture; of a long prompt the beginning counts."""
        told = _unit(self._embedder.texts([self._tokenizer.encode(prompt).ids]))[0]
        fitted = [self._embedder.preprocessing.fit(picture) for picture in pictures]
        # Each alone: no picture's score depends on its company.
        seen = [_unit(self._embedder.pictures([each]))[0] for each in fitted]
        return [float(told @ vector) for vector in seen]

    def close(self) -> None:
        """Let go of the graphs."""
        self._embedder.close()


def open_ranker(opening: Opening) -> ClipRanker:
    """The embedder of a version. Raises ValueError where its files make none."""
    config = opening.version.manifest.config
    embedder = open_embedder(config, opening.folder, opening.exported(), opening.open)
    return ClipRanker(opening.version.name, embedder, open_tokenizer(opening.folder, embedder.sizes))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
