"""Recipe pretrain_lm: a Llama-shaped language model and its byte-level encoding, from a corpus alone.

python -m services.finetune.recipes.pretrain_lm --corpus DIR --work DIR --out STORE/NAME/VERSION

Chapters of every book are held out (recipe part ``chapters``). Everything lives in the work folder while it
trains, so the same command goes on where it was stopped; ``torchrun --nproc-per-node N -m`` in place of
``python -m`` trains in N processes. The result is a Hugging Face directory.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from services.common.store import Kind, Manifest
from services.finetune.recipes.baseline import kneser_ney_bits
from services.finetune.recipes.chapters import split
from services.finetune.recipes.encoding import byte_level_bpe
from services.finetune.recipes.muon import Muon
from services.finetune.recipes.parallel import ALONE, Team, team
from services.finetune.recipes.version import Corpus, begin, corpus_parser, finish, publish, read_corpus
from services.sampler.families import llama
from services.sampler.families.llama import Config, Llama
from services.sampler.ngrams.tokens import Tokens
from services.sampler.transformer.decoder import causal, transform
from services.sampler.transformer.directory import TOKENIZER_FILE, write

END = "<|endoftext|>"
_CHECKPOINT = "checkpoint.pt"
_CURVE = "curve.jsonl"
_BETAS = (0.9, 0.95)
_CLIP = 1.0
_STRIDE = 4
"""Held-out windows overlap so that all but a text's beginning is read with 3/4 of a window before it."""

Ids = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Options:
    """Shape and training; the defaults are those of the shipped ``storyteller``."""

    vocabulary: int = 8192
    width: int = 256
    hidden: int = 576
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    window: int = 512
    """Tokens of context, in training and afterwards."""
    steps: int = 3400
    batch: int = 12
    """Windows in a step."""
    at_once: int = 2
    """Windows in the network together: on a CPU few, so that they stay near it."""
    muon_rate: float = 0.02
    """Peak rate of the layers' matrices."""
    adam_rate: float = 0.005
    """Peak rate of everything else."""
    warm_up: int = 100
    decay: float = 0.1
    """Weight decay of the layers' matrices."""
    save_every: int = 20
    evaluate_every: int = 200
    seed: int = 1
    threads: int = 1
    baseline_order: int = 5
    """The longest n-grams that the result is compared with."""


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


class Trainer:
    """The model, its two optimisers, and the step it is at."""

    def __init__(self, options: Options, work: Path, among: Team) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.step = 0
        self.seconds = 0.0
        self._team = among
        self.model = Llama(config_of(options))
        initialise(self.model)
        self._optimisers = _optimisers(self.model, options)
        self._file = work / _CHECKPOINT
        self._curve = work / _CURVE

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one. Raises ValueError when it was made otherwise."""
        if not self._file.exists():
            return
        saved = torch.load(self._file, weights_only=True)
        if saved["options"] != _lasting(self.options):
            raise ValueError(f"{self._file} was made with other options: {saved['options']}")
        self.model.load_state_dict(saved["model"])
        for optimiser, state in zip(self._optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "options": _lasting(self.options),
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self._file.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._file)

    def run(self, data: Data) -> None:
        """Train to the last step; the work folder holds a checkpoint and the curve."""
        options = self.options
        losses: list[float] = []
        for batch in data.batches(self.step, options.batch):
            if self.step >= options.steps:
                break
            started = time.perf_counter()
            losses.append(self._learn(batch))
            self.seconds += time.perf_counter() - started
            self.step += 1
            last = self.step == options.steps
            if self._team.leads and (self.step % options.evaluate_every == 0 or last):
                self._note(float(np.mean(losses)), data)
                losses = []
            if self._team.leads and (self.step % options.save_every == 0 or last):
                self.save()

    def curve(self) -> list[dict[str, float]]:
        """What was noted: step, training loss, held-out bits a byte; the last word on every step."""
        lines = self._curve.read_text().splitlines() if self._curve.exists() else []
        return list({(point := json.loads(line))["step"]: point for line in lines}.values())

    def _learn(self, batch: Tensor) -> float:
        for optimiser, peak in zip(self._optimisers, _peaks(self.options), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * schedule(self.step, self.options)
            optimiser.zero_grad(set_to_none=True)
        total = 0.0
        mine = self._team.share(batch)
        for windows in torch.split(mine, self.options.at_once):
            loss = loss_of(self.model, windows) * (len(windows) / len(mine))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        self._team.average(self.model.parameters())
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        for optimiser in self._optimisers:
            optimiser.step()
        return total

    def _note(self, loss: float, data: Data) -> None:
        point = {
            "step": self.step,
            "tokens": self.step * self.options.batch * self.options.window,
            "train_loss": round(loss, 4),
            "held_out_bits_per_byte": round(bits_per_byte(self.model, data), 4),
            "seconds": round(self.seconds, 1),
        }
        with self._curve.open("a") as file:
            file.write(json.dumps(point) + "\n")
        sys.stderr.write(f"{json.dumps(point)}\n")


def config_of(options: Options) -> Config:
    """The model's sizes."""
    return Config(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.kv_heads,
        head_dim=options.width // options.heads,
        max_position_embeddings=options.window,
        tie_word_embeddings=True,
    )


def initialise(model: Llama) -> None:
    """Normal weights; those that write into the residual stream smaller with depth (Radford et al., 2019)."""
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            deep = name.endswith(("out.weight", "down.weight"))
            nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * model.config.num_hidden_layers) if deep else 1))


def schedule(step: int, options: Options) -> float:
    """Share of the peak rate: a linear warm-up, then a cosine down to a hundredth."""
    if step < options.warm_up:
        return (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(options.steps - options.warm_up, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def loss_of(model: Llama, batch: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each id of ``batch`` [windows, window + 1] after those before it."""
    inputs, targets = batch[:, :-1], batch[:, 1:]
    x = _read(model, inputs)
    return functional.cross_entropy(model.unembed(x), targets.reshape(-1))


def _read(model: Llama, ids: Tensor) -> Tensor:
    """The last layer's rows of ids [windows, length], each window from position 0 on."""
    windows, length = ids.shape
    positions = torch.arange(length)
    attend = causal(windows, length, model.rotation(positions))
    return transform(model, ids.reshape(-1), positions.repeat(windows), attend)


@torch.no_grad()
def bits_per_byte(model: Llama, data: Data) -> float:
    """Bits that a byte of the held-out chapters costs; the first token of a chapter is not counted."""
    nats = sum(_nats(model, ids.astype(np.int64)) for ids in data.held_out)
    return nats / math.log(2) / sum(data.held_out_bytes)


def _nats(model: Llama, ids: npt.NDArray[np.int64]) -> float:
    """Cost of a chapter, read in overlapping windows; of each window what no earlier one has read."""
    window = model.config.max_position_embeddings
    total, done = 0.0, 1
    for start in range(0, len(ids), window // _STRIDE):
        part = torch.from_numpy(ids[start : start + window + 1])
        if start + len(part) <= done:
            break
        x = _read(model, part[:-1].unsqueeze(0))
        fresh = start + len(part) - done
        logits = model.unembed(x[-fresh:])
        total += float(functional.cross_entropy(logits, part[-fresh:], reduction="sum"))
        done += fresh
    return total


def train(
    corpus: Corpus, work: Path, out: Path, options: Options | None = None, among: Team = ALONE
) -> Manifest | None:
    """Train on ``corpus`` into the new version ``out``, by way of ``work``; the leader gets its manifest.

    Raises ValueError for a corpus without chapters or a work folder of other options, FileExistsError for a
    version there is.
    """
    chosen = options or Options()
    torch.set_num_threads(chosen.threads)
    work.mkdir(parents=True, exist_ok=True)
    begin(out)
    data = Data(corpus, work, chosen)
    trainer = Trainer(chosen, work, among)
    trainer.resume()
    trainer.run(data)
    if not among.leads:
        return None
    write(out, llama, trainer.model, work / TOKENIZER_FILE, END)
    curve = trainer.curve()
    metrics = {
        "held_out_bits_per_byte": curve[-1]["held_out_bits_per_byte"],
        "train_loss": curve[-1]["train_loss"],
        "tokens_in_corpus": float(sum(map(len, data.train))),
        "tokens_seen": float(curve[-1]["tokens"]),
        "parameters": float(sum(each.numel() for each in trainer.model.parameters())),
        "training_seconds": round(trainer.seconds, 1),
    } | _baseline(data, work / TOKENIZER_FILE, chosen.baseline_order)
    config: dict[str, Any] = {"training": asdict(chosen), "curve": curve}
    return publish(corpus, out, Kind.LANGUAGE_MODEL, "llama", config, metrics, "pretrain_lm")


def _baseline(data: Data, tokenizer: Path, longest: int) -> dict[str, float]:
    """What the best n-gram model of the same tokens costs on the same chapters."""
    bits = kneser_ney_bits(data.train, data.held_out, Tokens(tokenizer), longest)
    best = min(bits, key=bits.__getitem__)
    return {
        "kneser_ney_bits_per_byte": round(bits[best] / sum(data.held_out_bytes), 4),
        "kneser_ney_order": float(best),
    }


def _optimisers(model: Llama, options: Options) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embedding and norms."""
    matrices = [each for each in model.blocks.parameters() if each.ndim == 2]
    others = [each for each in model.parameters() if all(each is not matrix for matrix in matrices)]
    muon_rate, adam_rate = _peaks(options)
    return [
        Muon(matrices, lr=muon_rate, weight_decay=options.decay),
        torch.optim.AdamW(others, lr=adam_rate, betas=_BETAS, weight_decay=0.0),
    ]


def _peaks(options: Options) -> tuple[float, float]:
    return options.muon_rate, options.adam_rate


def _lasting(options: Options) -> dict[str, Any]:
    """The options that a checkpoint cannot change under."""
    passing = {"threads", "save_every", "evaluate_every", "at_once", "baseline_order"}
    return {name: value for name, value in asdict(options).items() if name not in passing}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = corpus_parser(__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder of checkpoints and curve")
    for name, default in asdict(Options()).items():
        flag = f"--{name.replace('_', '-')}"
        options.add_argument(flag, type=type(default), default=default, help="(%(default)s)")
    chosen = options.parse_args(arguments)
    try:
        corpus = read_corpus(chosen.corpus, chosen.glob, chosen.training_data)
        settings = Options(**{name: getattr(chosen, name) for name in asdict(Options())})
        with team() as among:
            manifest = train(corpus, chosen.work, chosen.out, settings, among)
    except (ValueError, OSError) as error:
        options.exit(2, f"pretrain_lm: {error}\n")
    if manifest is not None:
        finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
