"""Recipe encoding: makes a version of an encoding from a table of ranks or from a tokenizer.json.

python -m services.finetune.recipes.encoding --ranks dist/ranks/cl100k_base.js --out STORE/cl100k/1
python -m services.finetune.recipes.encoding --tokenizer tokenizer.json --out STORE/NAME/VERSION

The npm package js-tiktoken (MIT) packs each table into one line of a JavaScript file: per run of ranks
"! first-rank token token ...", tokens in base64.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from services.common.store import Kind, Manifest
from services.finetune.recipes.version import Corpus, begin, finish, publish
from services.tokenizer.families import tiktoken, tokenizer_json

_PACKAGE_LICENSE = "MIT"


def from_ranks(file: Path, out: Path, source: str) -> Manifest:
    """The version ``out`` = <store>/<name>/<version> of a rank table of js-tiktoken; returns its manifest.

    Raises ValueError for a file that holds none, FileExistsError for a version that exists.
    """
    table = _read_module(file)
    ranks = list(_unpack(table["bpe_ranks"]))
    special_tokens = {str(name): int(token) for name, token in table["special_tokens"].items()}
    begin(out)
    lines = (f"{token} {rank}\n" for token, rank in ranks)
    (out / tiktoken.RANKS_FILE).write_text("".join(lines))
    config = {
        "algorithm": "byte_bpe",
        "pattern": table["pat_str"],
        "special_tokens": special_tokens,
        "vocabulary_size": max([*special_tokens.values(), len(ranks) - 1]) + 1,
        "lossless": True,
    }
    corpus = Corpus((), source, _PACKAGE_LICENSE)
    return publish(corpus, out, Kind.ENCODING, "tiktoken", config, {}, "encoding")


def from_tokenizer(file: Path, out: Path, source: str, license: str) -> Manifest:
    """The version ``out`` of a Hugging Face ``tokenizer.json``; returns its manifest. Raises ValueError."""
    begin(out)
    shutil.copyfile(file, out / tokenizer_json.TOKENIZER_FILE)
    read = tokenizer_json.load({}, out, _derives_nothing)
    config = {
        "algorithm": read.algorithm.value,
        "special_tokens": dict(read.special_tokens),
        "vocabulary_size": read.vocabulary_size,
        "lossless": read.lossless,
    }
    return publish(Corpus((), source, license), out, Kind.ENCODING, "tokenizer_json", config, {}, "encoding")


def train(
    corpus: Corpus, out: Path, size: int, special_tokens: Sequence[str] = ("<|endoftext|>",)
) -> Manifest:
    """A byte-level byte-pair encoding of ``size`` tokens learnt from ``corpus``, into the version ``out``."""
    tokenizer = byte_level_bpe(corpus.texts, size, special_tokens)
    scratch = out.parent / f".{out.name}.tokenizer.json"
    scratch.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(scratch))
    try:
        return from_tokenizer(scratch, out, corpus.description, corpus.license)
    finally:
        scratch.unlink()


def byte_level_bpe(texts: Sequence[str], size: int, special_tokens: Sequence[str]) -> Tokenizer:
    """A byte-level byte-pair encoding of ``size`` tokens, the special ones first.

    Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016, over bytes.
    """
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _read_module(file: Path) -> dict[str, Any]:
    text = file.read_text()
    begin_at, end_at = text.find("{"), text.rfind("}")
    try:
        table = dict(json.loads(text[begin_at : end_at + 1]))
    except ValueError:
        raise ValueError(f"{file} is no rank file of js-tiktoken") from None
    if missing := {"pat_str", "special_tokens", "bpe_ranks"} - table.keys():
        raise ValueError(f"{file} has no {', '.join(sorted(missing))}")
    return table


def _unpack(packed: str) -> Iterator[tuple[str, int]]:
    """(token in base64, rank) in the order of the ranks."""
    for line in packed.splitlines():
        _, first, *tokens = line.split(" ")
        for rank, token in enumerate(tokens, start=int(first)):
            yield token, rank


def _derives_nothing(target: str, build: object) -> Path:
    raise AssertionError(f"{target} was derived")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--ranks", type=Path, help="a rank file of the npm package js-tiktoken")
    source.add_argument("--tokenizer", type=Path, help="a tokenizer.json")
    options.add_argument("--out", type=Path, required=True, help="folder of the new version")
    options.add_argument("--source", default="", help="where it comes from, in a sentence")
    options.add_argument("--license", default="", help="licence of a tokenizer.json")
    options.add_argument("--alias", default="", help="an alias to point at the new version")
    chosen = options.parse_args(arguments)
    try:
        if chosen.ranks:
            manifest = from_ranks(chosen.ranks, chosen.out, chosen.source)
        else:
            manifest = from_tokenizer(chosen.tokenizer, chosen.out, chosen.source, chosen.license)
    except (ValueError, OSError) as error:
        options.exit(2, f"encoding: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
