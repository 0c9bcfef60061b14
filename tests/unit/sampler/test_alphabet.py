"""Alphabets: normalisation, unknown characters, tokens that are parts of characters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from services.sampler.ngrams.alphabet import UNKNOWN, Characters, Shannon, alphabet_from_config
from services.sampler.ngrams.tokens import Tokens

ZWJ_FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    """A byte-level BPE tokenizer with all 256 bytes and a few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(["hello world hello 后 後 world"] * 3, trainer)
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call me Ishmael.", "CALL ME ISHMAEL "),
        ("café  naïve\n\nWhœl", "CAFE NAIVE WHOEL"),
        ("don't — stop", "DON T STOP"),
        ("straße ﬁn", "STRASSE FIN"),
        ("  42  ", " "),
        ("", ""),
    ],
)
def test_shannon_has_27_symbols(text, expected):
    alphabet = Shannon()
    assert alphabet.size == 27
    assert alphabet.normalise(text) == expected
    assert "".join(alphabet.feed(alphabet.encode(text).tolist())) == expected


@given(st.text())
def test_shannon_reads_any_text(text):
    alphabet = Shannon()
    ids = alphabet.encode(text)
    assert ((ids >= 0) & (ids < 27)).all()
    assert "  " not in alphabet.normalise(text)
    assert alphabet.normalise(alphabet.normalise(text)) == alphabet.normalise(text)


@given(st.text(alphabet="abcé后\U0001f600"), st.text())
def test_characters_come_back_and_others_are_unknown(known, other):
    alphabet = Characters("abcé后\U0001f600")
    ids = alphabet.encode(known + other)
    assert alphabet.feed(ids[: len(known)].tolist()) == list(known)
    for character, symbol in zip(other, ids[len(known) :].tolist(), strict=True):
        assert (symbol == UNKNOWN) == (character not in alphabet.characters)


@pytest.mark.parametrize("characters", ["", "aba"])
def test_an_alphabet_holds_each_character_once(characters):
    with pytest.raises(ValueError, match="once"):
        Characters(characters)


@pytest.mark.parametrize("text", ["hello world", 'Who\'d use "后" vs. "後"?', ZWJ_FAMILY, ""])
def test_tokens_come_back_and_never_cut_a_character(byte_level, text):
    alphabet = Tokens(byte_level)
    ids = alphabet.encode(text)
    pieces = alphabet.decoder(np.empty(0, np.int64)).feed(ids.tolist())
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert b"".join(alphabet.piece(symbol) for symbol in ids.tolist()) == text.encode()


def test_a_decoder_goes_on_from_half_a_character_in_the_prompt(byte_level):
    alphabet = Tokens(byte_level)
    ids = alphabet.encode("\U0001f600")
    assert ids.size == 4
    assert "".join(alphabet.decoder(ids[:2]).feed(ids[2:].tolist())) == "\U0001f600"


def test_the_config_names_the_alphabet(byte_level):
    folder = byte_level.parent
    assert alphabet_from_config({"kind": "shannon"}, folder).size == 27
    assert alphabet_from_config({"kind": "text", "characters": "xyz"}, folder).size == 3
    assert alphabet_from_config({"kind": "tokens", "file": byte_level.name}, folder).size == 270
    with pytest.raises(ValueError, match="shannon, text, tokens"):
        alphabet_from_config({"kind": "runes"}, folder)
