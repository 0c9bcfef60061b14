"""The text encoder of a peeps-clip version, as it is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor

from services.finetune.recipes.peeps import words

TOKENIZER_FILE = "tokenizer.json"


class Tower:
    """Turns texts into the states that a diffusion model reads."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Raises FileNotFoundError where ``folder`` holds none."""
        library: Any = transformers  # typed only in part
        library.logging.set_verbosity_error()  # it would warn of the image tower, which is not wanted
        self._tokenizer_file = folder / TOKENIZER_FILE
        if not self._tokenizer_file.is_file():
            raise FileNotFoundError(f"{folder} holds no {TOKENIZER_FILE}: it is no version of a text tower")
        self.tokenizer = Tokenizer.from_file(str(self._tokenizer_file))
        model = library.CLIPTextModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        self._model = model.to(device).eval().requires_grad_(False)
        self._device = device

    @property
    def length(self) -> int:
        """Tokens of the longest text."""
        return int(self._model.config.max_position_embeddings)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids [texts, tokens] and what of them is no padding."""
        ids, mask = (torch.from_numpy(each).to(self._device) for each in words.encode(self.tokenizer, texts))
        return ids, mask.bool()

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States [texts, tokens, width], in 32 bits."""
        with torch.autocast(self._device.type, enabled=False):
            states: Tensor = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states

    def save(self, folder: Path) -> None:
        """Write the tower alone, as a directory of Transformers."""
        self._model.half().save_pretrained(folder)
        shutil.copyfile(self._tokenizer_file, folder / TOKENIZER_FILE)
