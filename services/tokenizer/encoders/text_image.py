"""Runs a text-image embedder over rows: texts through one of its graphs, pictures through the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from services.common.errors import unsupported
from services.common.pictures.reading import read_picture
from services.common.text_image.embedder import TextImageEmbedder
from services.tokenizer.encoders.reading import Reader
from services.tokenizer.engine import EmbedOptions, Floats, Input, Precision, Row


class TextImageEncoder:
    """See ``services.tokenizer.engine.Embedder``."""

    normalize = True
    reads_pictures = True
    precisions: tuple[Precision, ...] = (Precision.FP32,)
    prompts: Mapping[str, str] = {}

    def __init__(
        self, name: str, embedder: TextImageEmbedder, reader: Reader, compute: threading.Lock
    ) -> None:
        """``compute`` is held while a graph runs."""
        self.name = name
        self.dimensions = embedder.sizes.dimensions
        self.max_tokens = embedder.sizes.tokens
        self._embedder = embedder
        self._reader = reader
        self._compute = compute

    def prepare(self, inputs: Sequence[Input], options: EmbedOptions) -> list[Row]:
        """Tokens and template of texts; pictures read, and as large as the model sees them."""
        if options.pooling is not None:
            raise unsupported(f"options.pooling: model {self.name!r} has its own and no other")
        read = self._reader.rows([each for each in inputs if each.image is None], options)
        # Every text is padded to the longest that there may be.
        texts = (replace(row, weight=self.max_tokens) for row in read)
        return [next(texts) if each.image is None else self._seen(each.field, each.image) for each in inputs]

    def run(self, rows: Sequence[Row], precision: Precision) -> Sequence[Floats]:
        """Vectors as the model projects them, [dimensions] each."""
        vectors = np.empty((len(rows), self.dimensions), np.float32)
        texts = [place for place, row in enumerate(rows) if row.picture is None]
        seen = {place: row.picture for place, row in enumerate(rows) if row.picture is not None}
        with self._compute:
            if texts:
                vectors[texts] = self._embedder.texts([rows[place].ids for place in texts])
            if seen:
                vectors[list(seen)] = self._embedder.pictures(list(seen.values()))
        return list(vectors)

    def close(self) -> None:
        """Let go of the graphs."""
        with self._compute:
            self._embedder.close()

    def _seen(self, field: str, image: bytes) -> Row:
        picture = self._embedder.preprocessing.fit(read_picture(f"{field}.image", image))
        return Row((), picture=picture, weight=self._embedder.sizes.patches)
