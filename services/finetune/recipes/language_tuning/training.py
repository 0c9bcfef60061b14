"""The steps of a language model's fine-tune, and what is measured of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from services.finetune.recipes.candidates.offering import Judged
from services.finetune.recipes.choices.tune_lm import Options
from services.finetune.recipes.descent import descend_by
from services.finetune.recipes.language_tuning.documents import Document, question
from services.finetune.recipes.language_tuning.network import Network
from services.finetune.recipes.language_tuning.rows import Rows, packed, pieces_of
from services.finetune.recipes.resumable import Stateful, cosine
from services.finetune.recipes.watching import Better, Preview, Score

_PREVIEWS = 3


class Training:
    """What a step learns."""

    def __init__(
        self, network: Network, learnt: Sequence[Document], held_out: Sequence[Document], options: Options
    ) -> None:
        """Raises ValueError where there is nothing to learn or to measure on."""
        self.network, self.options = network, options
        self.is_apart = not network.keeps_apart(options.window)
        cut = options.window
        self.rows = packed(pieces_of(learnt, network.tokenizer, cut), cut, self.is_apart)
        measured = packed(pieces_of(held_out, network.tokenizer, cut), cut, self.is_apart)
        chosen = np.random.default_rng(options.seed).permutation(len(measured))[: options.measured_rows]
        self.measured = measured.at(sorted(int(each) for each in chosen))
        self.prompts = _prompts(held_out, options, network)
        self.optimiser = torch.optim.AdamW(
            network.trained.weights.values(), lr=options.rate, betas=(0.9, 0.95), weight_decay=options.decay
        )
        self.before = self.held_out_loss()

    @property
    def parts(self) -> Mapping[str, Stateful]:
        """What a checkpoint holds."""
        return {"trained": self.network.trained, "optimiser": self.optimiser}

    def learn(self, step: int, chance: np.random.Generator) -> Tensor:
        """One step."""
        options = self.options
        rows = self.rows.at(list(self.places(step)))
        self.network.model.train()
        rate = options.rate * cosine(step, options.steps, options.warm_up, end=0.1)
        return descend_by(self.optimiser, rate, self._errors(rows))

    def _errors(self, rows: Rows) -> Iterator[Tensor]:
        """Parts of the mean over all tokens that are learnt, some rows each."""
        for begin in range(0, len(rows), self.options.at_once):
            part = rows.at(range(begin, min(begin + self.options.at_once, len(rows))))
            yield self._error(part) / rows.tokens

    def _error(self, rows: Rows) -> Tensor:
        """Sum over the tokens that are learnt, in nats."""
        logits = self.network.logits(rows, self.is_apart)
        here = logits.device
        learnt = torch.from_numpy(rows.learnt[:, 1:]).to(here)
        right = torch.from_numpy(rows.ids[:, 1:]).to(here)
        return functional.cross_entropy(logits[:, :-1][learnt], right[learnt], reduction="sum")

    def places(self, step: int) -> Iterator[int]:
        """Rows of a step: every epoch is a new order of all, and a step may reach into the next."""
        count = len(self.rows)
        for number in range(step * self.options.batch, (step + 1) * self.options.batch):
            epoch, place = divmod(number, count)
            yield int(np.random.default_rng((self.options.seed, epoch)).permutation(count)[place])

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Nats a token."""
        self.network.model.eval()
        at_once = self.options.at_once
        parts = [
            self._error(self.measured.at(range(begin, min(begin + at_once, len(self.measured))))).item()
            for begin in range(0, len(self.measured), at_once)
        ]
        return sum(parts) / self.measured.tokens

    def judge(self) -> Judged:
        """Scores beside the base's, and texts."""
        loss = self.held_out_loss()
        scores = (
            Score("held_out_loss", loss, Better.LOWER),
            Score("perplexity", _perplexity(loss)),
            Score("perplexity_before", _perplexity(self.before)),
        )
        return Judged(scores, tuple(self._previews()))

    def _previews(self) -> Iterator[Preview]:
        for seed, (prompt, is_chat) in enumerate(self.prompts):
            text = self.network.continued(prompt, is_chat, self.options.preview_tokens, seed)
            yield Preview(prompt, seed, text=text)

    def write(self, folder: Path, reference: str) -> None:
        """The files of a version, without its manifest."""
        self.network.write(folder, reference)


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))  # beyond that there is no number


def _prompts(held_out: Sequence[Document], options: Options, network: Network) -> list[tuple[str, bool]]:
    """(prompt, whether it was rendered by a template already)."""
    if not options.prompts:
        return [(each.opening, each.is_chat) for each in held_out[:_PREVIEWS]]
    texts = options.prompts.split("|")
    if not held_out[0].is_chat:
        return [(each, False) for each in texts]
    return [(question(each, network.tokenizer), True) for each in texts]
