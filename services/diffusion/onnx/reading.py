"""Texts as a model of pixels reads them: tokens, then the states of its text encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from services.common.runtimes import Runtime
from services.diffusion.engine import Prompts, Reading, Text

TOKENIZER_FILE = "tokenizer.json"


class Reader:
    """May be used from several threads at once."""

    def __init__(self, tokenizer: Path, tower: Runtime) -> None:
        """Raises ValueError for a tokenizer that does not cut texts to what the encoder reads."""
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        if self._tokenizer.truncation is None:
            raise ValueError(f"{tokenizer.name} does not say how many tokens the text encoder reads")
        self._length = int(self._tokenizer.truncation["max_length"])
        self._tower = tower

    def read(self, prompts: Prompts) -> Reading:
        """Prompt and negative prompt."""
        ids = np.zeros((2, self._length), np.int64)
        mask = np.zeros_like(ids)
        cut = ["", ""]
        for row, text in enumerate((prompts.prompt, prompts.negative)):
            encoded = self._tokenizer.encode(text)
            ids[row, : len(encoded.ids)] = encoded.ids
            mask[row, : len(encoded.ids)] = 1
            if encoded.overflowing:
                cut[row] = text[encoded.offsets[-2][1] :].strip()  # the last token stands for the end
        # Each alone: in pairs a prompt's states could depend on what comes with it in a last bit.
        told, untold = (
            self._tower.run({"ids": ids[row : row + 1], "mask": mask[row : row + 1]})["text"][0]
            for row in range(2)
        )
        shown = mask.astype(bool)
        return Reading(
            Text({"text": told, "mask": shown[0]}), Text({"text": untold, "mask": shown[1]}), cut[0], cut[1]
        )

    def close(self) -> None:
        """Let go of the graph."""
        self._tower.close()
