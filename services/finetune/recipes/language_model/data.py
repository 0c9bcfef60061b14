"""The text a language model learns from, in tokens."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from services.finetune.recipes.encoding import byte_level_bpe
from services.finetune.recipes.language_model.chapters import split
from services.finetune.recipes.language_model.options import Options
from services.finetune.recipes.version import Corpus
from services.sampler.transformer.model.directory import TOKENIZER_FILE

END = "<|endoftext|>"

Ids = npt.NDArray[np.uint16]


class Data:
    """The corpus in tokens: chapters to learn from, laid end to end in a new order every epoch."""

    def __init__(self, corpus: Corpus, work: Path, options: Options) -> None:
        parts = split(corpus.texts)
        if not parts.held_out:
            raise ValueError("the corpus has no chapters to hold out")
        self.tokenizer = self._tokenizer(parts.train, work / TOKENIZER_FILE, options.vocabulary)
        self._window, self._seed = options.window, options.seed
        self.train = self._encode(parts.train)
        self.held_out = self._encode(parts.held_out)
        self.held_out_bytes = [len(text.encode()) for text in parts.held_out]

    def batches(self, start: int, batch: int) -> Iterator[Tensor]:
        """From step ``start`` on: [batch, window + 1] ids. What a step sees depends on its number alone."""
        per_epoch = (sum(map(len, self.train)) // (self._window + 1) - 1) // batch
        if per_epoch < 1:
            raise ValueError("the corpus is smaller than one batch")
        for epoch in range(start // per_epoch, sys.maxsize):
            windows = self._windows(epoch)
            first = start - epoch * per_epoch if epoch == start // per_epoch else 0
            for number in range(first, per_epoch):
                yield torch.from_numpy(windows[number * batch : (number + 1) * batch].astype(np.int64))

    def _windows(self, epoch: int) -> Ids:
        chance = np.random.default_rng((self._seed, epoch))
        stream = np.concatenate([self.train[place] for place in chance.permutation(len(self.train))])
        length = self._window + 1
        stream = stream[int(chance.integers(length)) :]
        windows = stream[: stream.size // length * length].reshape(-1, length)
        return windows[chance.permutation(len(windows))]

    def _encode(self, texts: Sequence[str]) -> list[Ids]:
        end = self.tokenizer.token_to_id(END)
        encoded = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array([*each.ids, end], np.uint16) for each in encoded]

    @staticmethod
    def _tokenizer(texts: Sequence[str], file: Path, size: int) -> Tokenizer:
        if not file.exists():
            byte_level_bpe(texts, size, (END,)).save(str(file))
        return Tokenizer.from_file(str(file))
