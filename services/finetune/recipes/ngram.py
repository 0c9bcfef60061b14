"""Recipe ngram: counts all sequences up to N symbols of a corpus into a model version.

python -m services.finetune.recipes.ngram --corpus DIR --order 5 --alphabet shannon --out STORE/NAME/VERSION
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from services.common.store import Kind, Manifest
from services.finetune.recipes.choices.ngram import Options
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.texts import corpus_of
from services.finetune.recipes.version import (
    Corpus,
    begin,
    corpus_parser,
    finish,
    manifest_of,
    publish,
    read_corpus,
)
from services.finetune.recipes.watching import Watcher
from services.sampler.families import ngram
from services.sampler.ngrams.alphabet import Alphabet, Ids, alphabet_from_config
from services.sampler.ngrams.chain import NgramOptions, Smoothing
from services.sampler.ngrams.trie import count_levels

HELD_OUT = 0.05
"""Share of each text, its end, that is kept from the counts while the figures are measured."""


@dataclass(frozen=True)
class Encoded:
    """A corpus in the symbols of its alphabet."""

    alphabet: Alphabet
    config: dict[str, Any]
    documents: list[Ids] = field(default_factory=list)

    def heads(self) -> list[Ids]:
        """The documents without the held-out ends."""
        return [ids[: _split(ids)] for ids in self.documents]


def train(
    corpus: Corpus, out: Path, order: int = 5, alphabet: str = "shannon", tokenizer: Path | None = None
) -> Manifest:
    """Count ``corpus`` into the new version ``out`` = <store>/<name>/<version>; returns its manifest.

    Raises ValueError for a corpus or settings that make no model, FileExistsError for a version that exists.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    encoded = encode(corpus, out, alphabet, tokenizer)
    started = time.perf_counter()
    levels = count_levels(encoded.documents, encoded.alphabet.size, order)
    seconds = time.perf_counter() - started
    metrics = {f"sequences_order_{n}": float(level.symbols.size) for n, level in enumerate(levels, start=1)}
    metrics |= held_out_bits(encoded, order)
    metrics |= {
        "symbols": float(sum(ids.size for ids in encoded.documents)),
        "counting_seconds": round(seconds, 3),
    }
    ngram.save(levels, out)
    config = {"order": order, "alphabet": encoded.config}
    return publish(corpus, out, Kind.NGRAM, family="ngram", config=config, metrics=metrics)


def encode(corpus: Corpus, out: Path, alphabet: str, tokenizer: Path | None) -> Encoded:
    """The corpus in the symbols of the alphabet named, and the folder of the new version with its files."""
    begin(out)
    config: dict[str, Any] = {"kind": alphabet}
    if alphabet == "text":
        config["characters"] = "".join(sorted(set().union(*corpus.texts)))
    elif alphabet == "tokens":
        if tokenizer is None:
            raise ValueError("the alphabet 'tokens' needs a tokenizer.json")
        shutil.copyfile(tokenizer, out / "tokenizer.json")
        config["file"] = "tokenizer.json"
    symbols = alphabet_from_config(config, out)
    documents = [symbols.encode(text) for text in corpus.texts]
    if not any(ids.size for ids in documents):
        raise ValueError("the corpus holds no text")
    return Encoded(symbols, config, documents)


def held_out_bits(encoded: Encoded, order: int) -> dict[str, float]:
    """Bits a symbol of the held-out ends costs under Kneser-Ney, for each N; the counts never saw them."""
    heads = encoded.heads()
    if not any(ids.size for ids in heads):
        return {}
    model = ngram.Ngram(encoded.alphabet, count_levels(heads, encoded.alphabet.size, order))
    bits = {}
    for n in range(1, order + 1):
        chain = model.chain(NgramOptions(n, Smoothing.KNESER_NEY))
        scores = [chain.score(ids, _split(ids), ids.size).probabilities for ids in encoded.documents]
        bits[f"held_out_bits_per_symbol_order_{n}"] = round(-float(np.log2(np.concatenate(scores)).mean()), 4)
    return bits


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every n-gram recipe takes."""
    options = corpus_parser(description)
    options.add_argument("--alphabet", choices=("shannon", "text", "tokens"), default="shannon")
    options.add_argument("--tokenizer", type=Path, help="tokenizer.json, for the alphabet 'tokens'")
    return options


def _split(ids: Ids) -> int:
    return int(ids.size * (1 - HELD_OUT))


def run(task: Task, watcher: Watcher) -> None:
    """As a job; one that is stopped begins anew."""
    assert task.data is not None
    options, out = task.options(Options), task.candidate(1)
    if not is_whole(out):
        watcher.progressed(0, 1, "counting")
        corpus = corpus_of(task.data, task.training_data)
        train(corpus, out, options.order, options.alphabet)
    offer_result(watcher, 1, out, manifest_of(out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = parser(__doc__)
    options.add_argument(
        "--order", type=int, default=5, help="N, the longest sequences counted (%(default)s)"
    )
    chosen = options.parse_args(arguments)
    try:
        corpus = read_corpus(chosen.corpus, chosen.glob, chosen.training_data)
        manifest = train(corpus, chosen.out, chosen.order, chosen.alphabet, chosen.tokenizer)
    except (ValueError, OSError) as error:
        options.exit(2, f"ngram: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
