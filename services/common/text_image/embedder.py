"""Runs a text-image embedder's graphs: tokens and pictures to vectors of one space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from services.common.export.manifest import read_export
from services.common.pictures.reading import Pixels
from services.common.runtimes import Runtime
from services.common.text_image.names import IMAGE, IMAGE_VECTORS, PIXELS, TEXT, TEXT_VECTORS, TOKENS
from services.common.text_image.preprocessing import Preprocessing, read_preprocessing

Floats = npt.NDArray[np.float32]
TOKENIZER_FILE = "tokenizer.json"
_HIGHEST = 2
"""The end token of configurations from before transformers knew it: such models pool at the highest id."""


@dataclass(frozen=True)
class Sizes:
    """Of a CLIPModel, by its config.json."""

    dimensions: int
    tokens: int
    """Longest text, the template's tokens included."""
    vocabulary: int
    end: int
    """The token where a text's vector is read; 2: the one of the highest id, wherever it stands."""
    side: int
    """Pixels of a picture's side."""
    patches: int
    """Places that a picture is cut into, and one for all of it."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Sizes:
        """What is left out has the value that OpenAI's first model had, as in transformers."""
        text, vision = _part(config, "text_config"), _part(config, "vision_config")
        if int(vision.get("num_channels", 3)) != 3:
            raise ValueError(f"its pictures have {vision['num_channels']} channels; RGB is known")
        side, patch = int(vision.get("image_size", 224)), int(vision.get("patch_size", 32))
        return cls(
            dimensions=int(config.get("projection_dim", 512)),
            tokens=int(text.get("max_position_embeddings", 77)),
            vocabulary=int(text.get("vocab_size", 49408)),
            end=int(text.get("eos_token_id", 49407)),
            side=side,
            patches=(side // patch) ** 2 + 1,
        )


class TextImageEmbedder:
    """Vectors as the model projects them, not scaled. It may be used from several threads at once.

    A row's vector does not depend on its company: every text is padded to the longest that there may be.
    """

    def __init__(self, sizes: Sizes, preprocessing: Preprocessing, text: Runtime, image: Runtime) -> None:
        self.sizes = sizes
        self.preprocessing = preprocessing
        self._text = text
        self._image = image

    def texts(self, rows: Sequence[Sequence[int]]) -> Floats:
        """[rows, dimensions] of ids with the template's tokens around them, at most ``sizes.tokens`` each."""
        ids = np.zeros((len(rows), self.sizes.tokens), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        return self._text.run({TOKENS: ids})[TEXT_VECTORS]

    def pictures(self, fitted: Sequence[Pixels]) -> Floats:
        """[pictures, dimensions] of pictures that ``preprocessing`` has fitted."""
        return self._image.run({PIXELS: self.preprocessing.values(fitted)})[IMAGE_VECTORS]

    def close(self) -> None:
        """Let go of the graphs."""
        self._text.close()
        self._image.close()


def open_embedder(
    config: Mapping[str, Any], folder: Path, exported: Path, open_graph: Callable[[Path], Runtime]
) -> TextImageEmbedder:
    """The model of ``folder``, whose config.json holds ``config``, by its graphs in ``exported``.

    Raises ValueError where files are missing or do not go together.
    """
    sizes = Sizes.of(config)
    preprocessing = read_preprocessing(folder, sizes.side)
    files = {name: exported / graph.file for name, graph in read_export(exported).graphs.items()}
    return TextImageEmbedder(sizes, preprocessing, open_graph(files[TEXT]), open_graph(files[IMAGE]))


def open_tokenizer(folder: Path, sizes: Sizes) -> Tokenizer:
    """Cuts texts for the model: special tokens that a text spells are text; what is too long loses its end.

    Raises ValueError for a tokenizer that is not the model's.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except Exception as error:  # the binding raises Exception itself
        raise ValueError(f"{TOKENIZER_FILE} cannot be read: {error}") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(sizes.tokens)
    tokenizer.encode_special_tokens = True
    check_tokenizer(tokenizer, sizes)
    return tokenizer


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Early configurations hold a tower's settings twice; the second ones count."""
    first: Mapping[str, Any] = config.get(name) or {}
    second: Mapping[str, Any] | None = config.get(f"{name}_dict")
    return first if second is None else second


def check_tokenizer(tokenizer: Tokenizer, sizes: Sizes) -> None:
    """Raises ValueError for tokens beyond the model's table, and where no end token follows a text."""
    size = tokenizer.get_vocab_size()
    if size > sizes.vocabulary:
        raise ValueError(f"its tokenizer has {size} tokens, its embeddings only {sizes.vocabulary} rows")
    if sizes.end != _HIGHEST and sizes.end not in tokenizer.encode("a").ids:
        raise ValueError(f"its tokenizer puts no end token {sizes.end} after a text, where the model reads")
