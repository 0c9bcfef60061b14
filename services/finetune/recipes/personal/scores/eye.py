"""How pictures are looked at: a CLIPModel's vectors of pictures and of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from services.common.text_image.embedder import Sizes, open_tokenizer
from services.common.text_image.preprocessing import read_preprocessing
from services.finetune.recipes.peeps.pictures import pixels


class Eye:
    """One model; it is not trained."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """A directory of a CLIPModel with its tokenizer.json. Raises ValueError or OSError for another."""
        if not (folder / "config.json").is_file():
            raise ValueError(f"clip: {folder} holds no config.json: it is no text-image embedder")
        library: Any = transformers  # typed only in part
        library.logging.disable_progress_bar()
        model = library.CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device
        self._sizes = Sizes.of(model.config.to_dict())
        self._preprocessing = read_preprocessing(folder, self._sizes.side)
        self._tokenizer: Tokenizer = open_tokenizer(folder, self._sizes)

    @torch.no_grad()
    def features(self, pictures: Tensor) -> Tensor:
        """[n, 3, s, s] from -1 to 1 -> [n, d]: what the tower says before its projection.

        The projection keeps what captions tell; the tower also how it is drawn, which makes an identity.
        """
        fitted = [self._preprocessing.fit(each) for each in pixels(pictures)]
        values = torch.from_numpy(self._preprocessing.values(fitted)).to(self._device)
        seen: Tensor = self._model.vision_model(pixel_values=values).pooler_output
        return seen.float().cpu()

    @torch.no_grad()
    def projected(self, features: Tensor) -> Tensor:
        """Unit vectors [n, dimensions] of pictures' features, to compare with texts."""
        return functional.normalize(self._model.visual_projection(features.to(self._device)), dim=1).cpu()

    @torch.no_grad()
    def read(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [n, dimensions]."""
        encoded = [each.ids for each in self._tokenizer.encode_batch(list(texts))]
        ids = torch.zeros(len(encoded), max(map(len, encoded)), dtype=torch.int64)
        for place, each in enumerate(encoded):
            ids[place, : len(each)] = torch.tensor(each)
        # No mask: a token sees only those before it, and the end token is where a text is read.
        read = self._model.text_model(input_ids=ids.to(self._device)).pooler_output
        return functional.normalize(self._model.text_projection(read), dim=1).cpu()
