"""Recipes word2vec, encoding and minilm: what they make, what they refuse, what was shipped with them."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from services.common.store.disk import DiskLayer
from services.common.store.manifest import read_manifest
from services.finetune.recipes import encoding, minilm, word2vec
from services.finetune.recipes.version import Corpus
from services.tokenizer.families import int8_rows, tiktoken, tokenizer_json
from services.tokenizer.tokens.encoding import Specials

MODELS = Path(__file__).parents[3] / "models"
TEXT = "The whale swam. A ship's captain saw the whale.\n\nThe sea was wide, and the ship was small."
SMALL = word2vec.Options(dimensions=8, min_count=2, epochs=2, keep=5)


def test_paragraphs_are_lists_of_lower_case_words():
    assert list(word2vec.paragraphs_of("The Ship\u2019s 2 masts.\n\nÜber-all!")) == [
        ["the", "ship's", "masts"],
        ["über", "all"],
    ]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*under.*:UserWarning")
def test_the_same_corpus_gives_the_same_vectors(tmp_path):
    corpus = Corpus([TEXT] * 20, "whales")
    first = word2vec.train(corpus, tmp_path / "a" / "1", SMALL)
    second = word2vec.train(corpus, tmp_path / "b" / "1", SMALL)
    assert first.files == second.files
    assert (first.family, first.recipe, first.training_data) == ("int8_rows", "word2vec", "whales")
    assert first.metrics["vocabulary"] == 5
    loaded = int8_rows.load(first.config, tmp_path / "a" / "1", None)
    assert loaded.vocabulary.word(0) == "the"
    assert loaded.dimensions == 8


def test_a_corpus_without_common_words_is_refused(tmp_path, capsys):
    (tmp_path / "book.txt").write_text("every word once")
    with pytest.raises(SystemExit) as caught:
        word2vec.main(["--corpus", str(tmp_path / "book.txt"), "--out", str(tmp_path / "w" / "1")])
    assert caught.value.code == 2
    assert "5 times" in capsys.readouterr().err


def test_the_shipped_words_know_the_lectures_analogies():
    manifest = read_manifest((MODELS / "words/1/model.json").read_bytes(), "words")
    words = int8_rows.load(manifest.config, MODELS / "words/1", None)
    number = words.vocabulary.number
    for plus, minus, answer in (
        (("man", "mother"), "woman", "father"),
        (("his", "you"), "he", "your"),
        (("king", "woman"), "man", "queen"),
    ):
        (found,) = words.add([number(word) for word in plus], [number(minus)], 1)
        assert words.vocabulary.word(found.number) == answer
    cow, ocean = (words.compare(number("horse"), number(word)) for word in ("cow", "ocean"))
    assert cow[0] > ocean[0]
    assert cow[1] > ocean[1]


def test_the_shipped_ranks_are_those_that_openai_publishes():
    manifest = read_manifest((MODELS / "cl100k/1/model.json").read_bytes(), "cl100k")
    assert manifest.files[0].sha256 == "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"


def test_a_rank_file_becomes_an_encoding(tmp_path):
    table = {
        "pat_str": r"\S+|\s+",
        "special_tokens": {"<end>": 4},
        "bpe_ranks": "! 0 YQ== Yg==\n! 2 IA== YWI=",
    }
    (tmp_path / "ranks.js").write_text(f"export default {json.dumps(table)};")
    manifest = encoding.from_ranks(tmp_path / "ranks.js", tmp_path / "ab" / "1", "a test")
    assert manifest.config["vocabulary_size"] == 5
    made = tiktoken.load(manifest.config, tmp_path / "ab" / "1", None)
    assert made.encode("ab b", Specials(), offsets=False).ids == [3, 2, 1]


@pytest.mark.parametrize("content", ["no table", 'export default {"pat_str": "x"};'])
def test_other_files_are_no_rank_files(tmp_path, content):
    (tmp_path / "ranks.js").write_text(content)
    with pytest.raises(ValueError, match=r"ranks\.js"):
        encoding.from_ranks(tmp_path / "ranks.js", tmp_path / "x" / "1", "")


@pytest.fixture
def tokenizer_file(tmp_path):
    file = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[SEP]": 1, "whale": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.save(str(file))
    return file


def test_a_tokenizer_becomes_an_encoding(tmp_path, tokenizer_file):
    out = tmp_path / "whales" / "2"
    manifest = encoding.from_tokenizer(tokenizer_file, out, "a test", "MIT")
    assert read_manifest((out / "model.json").read_bytes(), "here") == manifest
    assert (manifest.name, manifest.version, manifest.kind) == ("whales", "2", "encoding")
    assert (manifest.family, manifest.license, manifest.training_data) == ("tokenizer_json", "MIT", "a test")
    assert manifest.config == {
        "algorithm": "word_level",
        "special_tokens": {"[SEP]": 1},
        "vocabulary_size": 3,
        "lossless": False,
    }


def test_a_version_is_made_once(tmp_path, tokenizer_file):
    encoding.from_tokenizer(tokenizer_file, tmp_path / "w" / "1", "", "")
    with pytest.raises(FileExistsError, match="a version never changes"):
        encoding.from_tokenizer(tokenizer_file, tmp_path / "w" / "1", "", "")


def test_the_command_makes_a_version_and_its_alias(tmp_path, tokenizer_file, capsys):
    out = tmp_path / "w" / "1"
    encoding.main(["--tokenizer", str(tokenizer_file), "--out", str(out), "--alias", "production"])
    assert capsys.readouterr().out.startswith("w:1, ")
    assert DiskLayer(tmp_path, "here", writable=False).aliases("w") == {"production": "1"}


@pytest.mark.parametrize(
    ("option", "content", "problem"),
    [
        ("--tokenizer", "{", "tokenizer.json cannot be read"),
        ("--ranks", "no table", "is no rank file"),
        ("--ranks", "export default {};", "has no bpe_ranks, pat_str, special_tokens"),
    ],
)
def test_the_command_says_what_is_wrong_with_a_file(tmp_path, capsys, option, content, problem):
    (tmp_path / "file").write_text(content)
    with pytest.raises(SystemExit) as caught:
        encoding.main([option, str(tmp_path / "file"), "--out", str(tmp_path / "w" / "1")])
    assert caught.value.code == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "w" / "1" / "model.json").exists()


def test_an_encoding_is_learnt_from_texts(tmp_path):
    manifest = encoding.train(Corpus([TEXT] * 5, "whales"), tmp_path / "learnt" / "1", 280)
    assert (manifest.config["vocabulary_size"], manifest.config["lossless"]) == (280, True)
    made = tokenizer_json.load(manifest.config, tmp_path / "learnt" / "1", None)
    cut = made.encode(TEXT, Specials(), offsets=False)
    assert made.decode(cut.ids, skip_special=False) == TEXT.encode()
    assert len(cut.ids) < len(TEXT)


def test_minilm_is_imported_from_its_package(tmp_path):
    manifest = minilm.import_minilm(tmp_path / "minilm" / "1")
    assert manifest.family == "bert"
    assert {entry.path for entry in manifest.files} >= {"model.safetensors", "tokenizer.json"}
    with pytest.raises(FileExistsError):
        minilm.import_minilm(tmp_path / "minilm" / "1")


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(minilm, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="sha256"):
        minilm.import_minilm(tmp_path / "minilm" / "1")
    assert not (tmp_path / "minilm").exists()
