"""Hugging Face tokenizers of every kind: offsets in bytes, special tokens by choice, counts, templates."""

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from services.tokenizer.families import tokenizer_json
from services.tokenizer.families.tokenizer_json import TokenizerJson
from services.tokenizer.tokens.encoding import Algorithm, Specials
from services.tokenizer.tokens.template import pair_template_of, template_of
from tests.unit.tokenizer.encoder_models import WORDS, byte_level, wordpiece

HARD = [
    "héllo wörld",
    "后/後 后",
    "👩‍👩‍👧 and 🐋",
    "e\u0301 combining a\u0308",
    "",
    "  two  spaces ",
    "Straße ﬁn",
]


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>", "<s>"], unk_token="<unk>")
    tokenizer.train_from_iterator([WORDS], trainer)
    return tokenizer


def byte_fallback():
    characters = {character: 258 + place for place, character in enumerate(sorted(set(WORDS)))}
    bytes_of = {f"<0x{byte:02X}>": 2 + byte for byte in range(256)}
    vocabulary = {"<unk>": 0, "<s>": 1, **bytes_of, **characters}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<unk>", "<s>"])
    return tokenizer


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator([WORDS], trainers.WordLevelTrainer(special_tokens=["[UNK]", "[SEP]"]))
    return tokenizer


MAKERS = {
    Algorithm.BYTE_BPE: byte_level,
    Algorithm.WORDPIECE: wordpiece,
    Algorithm.UNIGRAM: unigram,
    Algorithm.BPE: byte_fallback,
    Algorithm.WORD_LEVEL: word_level,
}


@cache
def made(algorithm):
    return TokenizerJson(MAKERS[algorithm]().to_str())


@pytest.fixture(params=MAKERS, ids=lambda algorithm: algorithm.value)
def encoding(request):
    return made(request.param)


@pytest.mark.parametrize("algorithm", MAKERS)
def test_the_algorithm_is_told(algorithm):
    assert made(algorithm).algorithm is algorithm
    assert made(algorithm).lossless == (algorithm is Algorithm.BYTE_BPE)


@given(st.text(max_size=120))
def test_a_byte_level_encoding_gives_any_text_back(text):
    encoding = made(Algorithm.BYTE_BPE)
    cut = encoding.encode(text, Specials(), offsets=True)
    data = text.encode()
    pieces = [encoding.piece(token) for token in cut.ids]
    assert b"".join(pieces) == data == encoding.decode(cut.ids, skip_special=False)
    assert [data[a:b] for a, b in zip(cut.starts, cut.ends, strict=True)] == pieces


@pytest.mark.parametrize("text", HARD)
def test_offsets_lead_back_to_whole_characters(encoding, text):
    if encoding.lossless:
        pytest.skip("its offsets are those of bytes")
    cut = encoding.encode(text, Specials(), offsets=True)
    data = text.encode()
    assert len(cut.starts) == len(cut.ids)
    for start, end in zip(cut.starts, cut.ends, strict=True):
        assert data[start:end].decode() in text  # no half of a character, or decode would raise
        assert 0 <= start <= end <= len(data)


def test_offsets_of_words_are_those_of_the_words():
    text = "后 the é whale"
    cut = made(Algorithm.WORD_LEVEL).encode(text, Specials(), offsets=True)
    shown = [text.encode()[a:b].decode() for a, b in zip(cut.starts, cut.ends, strict=True)]
    assert shown == ["后", "the", "é", "whale"]


@pytest.mark.parametrize("text", HARD)
@pytest.mark.parametrize("around", [False, True])
def test_a_count_is_the_number_of_ids(encoding, text, around):
    specials = Specials(frozenset(encoding.special_tokens), around)
    assert encoding.count(text, specials) == len(encoding.encode(text, specials, offsets=False).ids)


def test_special_tokens_are_text_unless_allowed(encoding):
    unknown = {"<unk>", "[UNK]"}
    first, second = sorted(encoding.special_tokens, key=lambda name: (name not in unknown, name))[:2]
    text = f"the {first} whale {second}"
    ids = encoding.special_tokens[first], encoding.special_tokens[second]
    assert encoding.encode(text, Specials(), offsets=False).ids.count(ids[1]) == 0
    one = encoding.encode(text, Specials(frozenset({second})), offsets=True)
    place = one.ids.index(ids[1])
    assert text.encode()[one.starts[place] : one.ends[place]] == second.encode()
    both = encoding.encode(text, Specials(frozenset(encoding.special_tokens)), offsets=False).ids
    assert set(ids) <= set(both)


def test_tokens_around_a_text_have_empty_ranges():
    cut = made(Algorithm.WORDPIECE).encode("the whale", Specials(around=True), offsets=True)
    assert (cut.ids[0], cut.ids[-1]) == (2, 3)
    assert (cut.starts[0], cut.ends[0], cut.starts[-1], cut.ends[-1]) == (0, 0, 9, 9)


@given(st.lists(st.integers(0, 100), max_size=30))
def test_any_ids_can_be_decoded(ids):
    for algorithm in MAKERS:
        assert isinstance(made(algorithm).decode(ids, skip_special=True), bytes)


@pytest.mark.parametrize("make", [wordpiece, byte_level, word_level])
def test_templates_are_those_of_the_library(make):
    tokenizer = make()
    single, pair = template_of(tokenizer), pair_template_of(tokenizer)
    for first, second in (("the whale", "a ship"), ("sea", "the captain saw")):
        a, b = (tokenizer.encode(text, add_special_tokens=False).ids for text in (first, second))
        expected = tokenizer.encode(first)
        assert single.wrap(a) == (expected.ids, expected.type_ids)
        expected = tokenizer.encode(first, second)
        assert pair.wrap(a, b) == (expected.ids, expected.type_ids)
        assert len(expected.ids) == pair.size + len(a) + len(b)


def test_a_directory_without_a_tokenizer_says_so(tmp_path):
    with pytest.raises(ValueError, match=re.escape("there is no tokenizer.json")):
        tokenizer_json.load({}, tmp_path, None)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Nonsense"}}')
    with pytest.raises(ValueError, match=re.escape("tokenizer.json cannot be read")):
        tokenizer_json.load({}, tmp_path, None)
