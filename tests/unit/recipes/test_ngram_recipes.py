"""The n-gram recipes: what they write is what a service loads, and their figures do not leak."""

import math
from collections import Counter

import pytest

from services.common.store import MANIFEST_NAME
from services.common.store.disk import DiskLayer
from services.common.store.manifest import read_manifest
from services.common.store.safety import verify
from services.finetune.recipes import infinigram as infinigram_recipe
from services.finetune.recipes import ngram as ngram_recipe
from services.finetune.recipes.version import Corpus
from services.sampler.families import infinigram, ngram
from tests.unit.sampler.ngram_models import OPENING, distribution, no_derived_data

CORPUS = Corpus([OPENING, "Loomings. " + OPENING[:100]], "the opening")


def derive_into(folder):
    def derive(name, build):
        folder.mkdir(exist_ok=True)
        build(folder)
        return folder

    return derive


def test_a_counted_version_loads_and_verifies(tmp_path):
    out = tmp_path / "opening" / "3"
    manifest = ngram_recipe.train(CORPUS, out, order=4, alphabet="text")
    assert read_manifest((out / MANIFEST_NAME).read_bytes(), "here") == manifest
    assert (manifest.name, manifest.version, manifest.kind, manifest.family) == (
        "opening",
        "3",
        "ngram",
        "ngram",
    )
    assert (manifest.license, manifest.training_data) == ("CC0-1.0", "the opening")
    verify(out, manifest, set())
    model = ngram.load(manifest.config, out, no_derived_data)
    assert distribution(model, "Ishm", 4) == {"a": 1.0}
    assert manifest.metrics["sequences_order_1"] == model.alphabet.size


@pytest.mark.parametrize("stored", [False, True])
def test_an_indexed_version_loads_and_verifies(tmp_path, stored):
    out = tmp_path / "opening" / "1"
    manifest = infinigram_recipe.train(CORPUS, out, alphabet="text", store_suffix_array=stored)
    verify(out, manifest, set())
    assert (out / infinigram.SUFFIX_ARRAY_FILE).exists() == stored
    derive = no_derived_data if stored else derive_into(tmp_path / "derived")
    model = infinigram.load(manifest.config, out, derive)
    assert model.count(model.alphabet.encode("Call me")) == 2
    assert 0 <= manifest.metrics["held_out_impossible_share"] <= 1


def test_shannons_alphabet_makes_27_symbols_of_any_text(tmp_path):
    manifest = ngram_recipe.train(Corpus(["Über 42 whales!"]), tmp_path / "w" / "1", order=2)
    model = ngram.load(manifest.config, tmp_path / "w" / "1", no_derived_data)
    assert model.alphabet.size == 27
    assert distribution(model, "U", 2) == {"B": 1.0}


def test_a_token_model_carries_its_tokenizer(tmp_path, word_tokenizer):
    out = tmp_path / "words" / "1"
    manifest = ngram_recipe.train(
        Corpus(["the whale the sea the whale"]), out, 2, alphabet="tokens", tokenizer=word_tokenizer
    )
    assert {entry.path for entry in manifest.files} == {"counts.safetensors", "tokenizer.json"}
    word_tokenizer.unlink()
    model = ngram.load(manifest.config, out, no_derived_data)
    following = model.chain(ngram.NgramOptions(2)).following(
        model.chain(ngram.NgramOptions(2)).start(model.alphabet.encode("the"))
    )
    assert following.counts.tolist() in ([2, 1], [1, 2])


@pytest.fixture
def word_tokenizer(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1, "whale": 2, "sea": 3}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "source.json"))
    return tmp_path / "source.json"


def test_held_out_bits_are_measured_on_text_the_counts_never_saw(tmp_path):
    """At order 1 Kneser-Ney is near the plain frequencies: compute the cross-entropy by hand."""
    text = "a" * 950 + "b" * 50
    manifest = ngram_recipe.train(Corpus([text]), tmp_path / "ab" / "1", order=1, alphabet="text")
    bits = manifest.metrics["held_out_bits_per_symbol_order_1"]
    assert bits > 8  # b never stands in the first 95 %: had it leaked, it would cost log2(20) = 4.3 bits
    whole = Counter(text)
    assert math.log2(len(text) / whole["b"]) < 4.4


def test_a_version_never_changes(tmp_path):
    ngram_recipe.train(CORPUS, tmp_path / "m" / "1", order=2)
    with pytest.raises(FileExistsError, match="never changes"):
        ngram_recipe.train(CORPUS, tmp_path / "m" / "1", order=3)


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        (Corpus([""]), {}, "no text"),
        (CORPUS, {"order": 0}, "at least 1"),
        (CORPUS, {"alphabet": "tokens"}, "tokenizer.json"),
        (CORPUS, {"alphabet": "runes"}, "runes"),
    ],
)
def test_what_makes_no_model_is_refused(tmp_path, corpus, options, message):
    with pytest.raises(ValueError, match=message):
        ngram_recipe.train(corpus, tmp_path / "m" / "1", **options)
    assert not (tmp_path / "m" / "1" / MANIFEST_NAME).exists()


@pytest.mark.parametrize("recipe", [ngram_recipe, infinigram_recipe])
def test_it_runs_from_the_command_line(tmp_path, capsys, recipe):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text(OPENING)
    (texts / "README.md").write_text("not this")
    out = tmp_path / "store" / "cli" / "7"
    recipe.main(
        ["--corpus", str(texts), "--out", str(out), "--alias", "production", "--training-data", "one"]
    )
    assert "cli:7" in capsys.readouterr().out
    layer = DiskLayer(tmp_path / "store", "test", writable=False)
    assert layer.aliases("cli") == {"production": "7"}
    assert layer.manifest("cli", "7").training_data == "one"


@pytest.mark.parametrize("recipe", [ngram_recipe, infinigram_recipe])
def test_a_missing_corpus_is_one_sentence(tmp_path, capsys, recipe):
    with pytest.raises(SystemExit) as ended:
        recipe.main(["--corpus", str(tmp_path / "nowhere.txt"), "--out", str(tmp_path / "m" / "1")])
    assert ended.value.code == 2
    assert "nowhere.txt" in capsys.readouterr().err
