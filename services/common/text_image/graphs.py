"""The two graphs of a CLIPModel: texts to vectors, pictures to vectors, neither of them normalised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from services.common.export.graph import GraphSpec
from services.common.pretrained import load_pretrained
from services.common.text_image.names import IMAGE, IMAGE_VECTORS, PIXELS, TEXT, TEXT_VECTORS, TOKENS

_ROWS = 3


class TextTower(nn.Module):
    """Texts, up to the space that they share with pictures."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: nn.Module = model.text_model
        self.projection: nn.Module = model.text_projection

    def forward(self, input_ids: Tensor) -> Tensor:
        """[n, tokens] of int64, padded behind each text's last token -> [n, dimensions].

        No mask: a token sees only those before it.
        """
        vectors: Tensor = self.projection(self.model(input_ids=input_ids).pooler_output)
        return vectors


class ImageTower(nn.Module):
    """Pictures, up to the space that they share with texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: nn.Module = model.vision_model
        self.projection: nn.Module = model.visual_projection

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[n, 3, height, width] -> [n, dimensions]."""
        vectors: Tensor = self.projection(self.model(pixel_values=pixel_values).pooler_output)
        return vectors


def clip_graphs(folder: Path) -> dict[str, GraphSpec]:
    """The graphs of the CLIPModel in ``folder``. Raises ValueError naming what does not fit."""
    model: Any = load_pretrained(transformers.CLIPModel, folder)
    text, vision = model.config.text_config, model.config.vision_config
    tokens = text.max_position_embeddings
    ids = (torch.arange(_ROWS * tokens) * 7919 % text.vocab_size).reshape(_ROWS, tokens)
    ids[torch.arange(_ROWS), torch.tensor([tokens - 1, tokens // 2, 2])] = text.eos_token_id
    chance = torch.Generator().manual_seed(0)
    size = (vision.num_channels, vision.image_size, vision.image_size)
    pixels = torch.randn((_ROWS, *size), generator=chance)
    return {
        TEXT: GraphSpec(TextTower(model), {TOKENS: ids}, (TEXT_VECTORS,), {TOKENS: {0: "batch"}}),
        IMAGE: GraphSpec(ImageTower(model), {PIXELS: pixels}, (IMAGE_VECTORS,), {PIXELS: {0: "batch"}}),
    }
