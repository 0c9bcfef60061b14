"""Recipe infinigram: codes a corpus, and sorts its suffixes, into a model version of unbounded N.

python -m services.finetune.recipes.infinigram --corpus DIR --alphabet text --out STORE/NAME/VERSION
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.common.store import Kind, Manifest
from services.finetune.recipes.ngram import HELD_OUT, Encoded, encode, parser
from services.finetune.recipes.version import Corpus, finish, publish, read_corpus
from services.sampler.families import infinigram
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.ngrams.suffix_array import SuffixArray, build, code, unit_width

_SCORED = 20_000
"""Held-out symbols that are scored: enough for two digits."""


def train(
    corpus: Corpus,
    out: Path,
    alphabet: str = "shannon",
    tokenizer: Path | None = None,
    store_suffix_array: bool = False,
) -> Manifest:
    """Make the new version ``out`` = <store>/<name>/<version> of ``corpus``; returns its manifest.

    Without ``store_suffix_array`` the version holds the coded text alone and the array is derived when it is
    first loaded; for large corpora store it. Raises as the recipe ngram does.
    """
    encoded = encode(corpus, out, alphabet, tokenizer)
    size, width = encoded.alphabet.size, unit_width(encoded.alphabet.size)
    text = code(encoded.documents, size)
    infinigram.save_symbols(text, out)
    metrics = {"symbols": float(text.size // width)} | held_out(encoded)
    if store_suffix_array:
        started = time.perf_counter()
        infinigram.save_suffix_array(build(text, width), out)
        metrics["sorting_seconds"] = round(time.perf_counter() - started, 3)
    config = {"alphabet": encoded.config, "stored_suffix_array": store_suffix_array}
    return publish(corpus, out, Kind.NGRAM, family="infinigram", config=config, metrics=metrics)


def held_out(encoded: Encoded) -> dict[str, float]:
    """How long contexts are that text outside the index finds, and how often back-off rules out what came."""
    heads = encoded.heads()
    if not any(ids.size for ids in heads):
        return {}
    size, width = encoded.alphabet.size, unit_width(encoded.alphabet.size)
    text = code(heads, size)
    model = infinigram.Infinigram(encoded.alphabet, SuffixArray(text, build(text, width), width))
    chain = model.chain(NgramOptions(model.order))
    share = _SCORED / sum(ids.size * HELD_OUT for ids in encoded.documents)
    scores = [
        chain.score(ids, head.size, head.size + int(min(share, 1.0) * (ids.size - head.size)))
        for ids, head in zip(encoded.documents, heads, strict=True)
    ]
    probabilities = np.concatenate([score.probabilities for score in scores])
    contexts = np.concatenate([score.contexts_used for score in scores])
    if not probabilities.size:
        return {}
    return {
        "held_out_mean_context": round(float(contexts.mean()), 3),
        "held_out_impossible_share": round(float((probabilities == 0).mean()), 4),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = parser(__doc__)
    options.add_argument(
        "--store-suffix-array", action="store_true", help="make the array a file of the version"
    )
    chosen = options.parse_args(arguments)
    try:
        corpus = read_corpus(chosen.corpus, chosen.glob, chosen.training_data)
        manifest = train(corpus, chosen.out, chosen.alphabet, chosen.tokenizer, chosen.store_suffix_array)
    except (ValueError, OSError) as error:
        options.exit(2, f"infinigram: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
