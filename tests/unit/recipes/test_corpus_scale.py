"""The unbounded model over the whole corpus counts what plain searching counts."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from services.finetune.recipes import infinigram as recipe
from services.finetune.recipes.version import read_corpus
from services.sampler.families import infinigram
from services.sampler.ngrams.chain import NgramOptions
from tests.unit.sampler.ngram_models import no_derived_data


@pytest.fixture(scope="module")
def corpus():
    folder = Path(os.environ.get("PEQUOD_CORPUS", ""))
    if not os.environ.get("PEQUOD_CORPUS") or not any(folder.glob("*.txt")):
        pytest.skip("PEQUOD_CORPUS names no folder of texts (make corpus fetches one)")
    return read_corpus(folder, "*.txt")


@pytest.fixture(scope="module")
def model(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "books" / "1"
    manifest = recipe.train(corpus, out, alphabet="text", store_suffix_array=True)
    return infinigram.load(manifest.config, out, no_derived_data)


def occurrences(part: str, text: str) -> Counter:
    """What follows each occurrence of ``part``, overlapping ones included."""
    found: Counter = Counter()
    place = text.find(part)
    while place >= 0:
        found[text[place + len(part) : place + len(part) + 1]] += 1
        place = text.find(part, place + 1)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 3, 8, 20, 60])
def test_counts_over_the_whole_corpus_equal_a_plain_search(corpus, model, length):
    draw = random.Random(length)
    for _ in range(3):
        text = draw.choice(corpus.texts)
        begin = draw.randrange(len(text) - length)
        part = text[begin : begin + length]
        expected: Counter = Counter()
        for each in corpus.texts:
            expected.update(occurrences(part, each))
        assert model.count(model.alphabet.encode(part)) == expected.total()
        expected.pop("", None)  # the end of a book is no symbol
        chain = model.chain(NgramOptions(length + 1))
        following = chain.following(chain.start(model.alphabet.encode(part)))
        pieces = [model.alphabet.piece(symbol).decode() for symbol in following.symbols.tolist()]
        assert dict(zip(pieces, following.counts.tolist(), strict=True)) == dict(expected)
