"""Hugging Face tokenizers of every kind: offsets in bytes, special tokens by choice, counts, templates."""

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from services.common.errors import Code, ServiceError
from services.tokenizer.families import tokenizer_json
from services.tokenizer.families.tokenizer_json import TokenizerJson
from services.tokenizer.tokens.encoding import Algorithm, Specials
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


def byte_pairs(pre_tokenizer=None, normalizer=None, added=(), **marks):
    """A byte-level encoding that does something more to a text than to cut it."""
    tokenizer = Tokenizer(models.BPE(**marks))
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*([pre_tokenizer] if pre_tokenizer else []), plain])
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, **marks)
    tokenizer.train_from_iterator([WORDS], trainer)
    tokenizer.add_tokens(list(added))
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


@cache
def cutting(pre_tokenizer):
    return TokenizerJson(byte_pairs(pre_tokenizer).to_str())


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


@pytest.mark.parametrize(
    "options",
    [
        {"pre_tokenizer": pre_tokenizers.Whitespace()},
        {"pre_tokenizer": pre_tokenizers.WhitespaceSplit()},
        {"pre_tokenizer": pre_tokenizers.Metaspace()},
        {"pre_tokenizer": pre_tokenizers.CharDelimiterSplit("s")},
        {"pre_tokenizer": pre_tokenizers.Split(" ", "removed")},
        {"pre_tokenizer": pre_tokenizers.UnicodeScripts()},
        {"pre_tokenizer": pre_tokenizers.Punctuation("removed")},
        {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=True)},
        {"normalizer": normalizers.NFC()},
        {"end_of_word_suffix": "</w>"},
        {"added": [AddedToken("ship", lstrip=True)]},
    ],
    ids=str,
)
def test_bytes_that_change_before_the_cut_are_not_called_lossless(options):
    encoding = TokenizerJson(byte_pairs(**options).to_str())
    text = "\u0cd7The  ship's e\u0301 ship."
    ids = encoding.encode(text, Specials(), offsets=False).ids
    assert b"".join(encoding.piece(token) for token in ids) != text.encode()
    assert not encoding.lossless


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        pre_tokenizers.Split(" ", "isolated"),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Punctuation("isolated"),
    ],
    ids=str,
)
@given(text=st.text(max_size=60))
def test_cuts_that_keep_every_character_are_lossless(pre_tokenizer, text):
    encoding = cutting(pre_tokenizer)
    ids = encoding.encode(text, Specials(), offsets=False).ids
    assert b"".join(encoding.piece(token) for token in ids) == text.encode()
    assert encoding.lossless


def test_a_special_token_takes_in_the_space_beside_it():
    tokenizer = byte_pairs()
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    encoding = TokenizerJson(tokenizer.to_str())
    text = "后  <mask> b后"
    cut = encoding.encode(text, Specials(frozenset(encoding.special_tokens)), offsets=True)
    shown = [text.encode()[a:b] for a, b in zip(cut.starts, cut.ends, strict=True)]
    assert b"".join(shown) == text.encode()
    assert shown[cut.ids.index(encoding.special_tokens["<mask>"])] == b"  <mask> "


@pytest.mark.parametrize("normalizer", [normalizers.NFC(), None], ids=["changing", "lossless"])
def test_half_a_character_of_a_byte_level_encoding_keeps_its_bytes(normalizer):
    encoding = TokenizerJson(byte_pairs(normalizer=normalizer).to_str())
    ids = encoding.encode("后", Specials(), offsets=False).ids
    assert encoding.decode(ids[:2], skip_special=False) == "后".encode()[:2]


@pytest.mark.parametrize("pre_tokenizer", [pre_tokenizers.WhitespaceSplit(), None], ids=["words", "whole"])
@pytest.mark.parametrize("model", [models.WordLevel, models.WordPiece])
def test_a_special_token_that_is_a_word_of_the_model_is_text_too(model, pre_tokenizer):
    tokenizer = Tokenizer(model({"[UNK]": 0, "[SEP]": 1, "the": 2, "a": 3}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[UNK]", "[SEP]"])
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    encoding = TokenizerJson(tokenizer.to_str())
    assert 1 not in encoding.encode("[SEP]", Specials(), offsets=False).ids
    assert encoding.encode("[SEP]", Specials(frozenset({"[SEP]"})), offsets=False).ids == [1]


@pytest.mark.parametrize("model", [models.WordLevel({"a": 0}), models.Unigram([("a", 0.0)])], ids=repr)
@pytest.mark.parametrize(
    "ask", [lambda e: e.count("zz", Specials()), lambda e: e.encode("zz", Specials(), True)]
)
def test_a_text_that_cannot_be_cut_without_an_unknown_token_is_refused(model, ask):
    encoding = TokenizerJson(Tokenizer(model).to_str())
    with pytest.raises(ServiceError, match="cannot cut this text") as caught:
        ask(encoding)
    assert caught.value.code is Code.FAILED_PRECONDITION


def test_a_directory_without_a_tokenizer_says_so(tmp_path):
    with pytest.raises(ValueError, match=re.escape("there is no tokenizer.json")):
        tokenizer_json.load({}, tmp_path, None)


@pytest.mark.parametrize(
    "content", [b'{"model": {"type": "Nonsense"}}', b"", b"{", b"[]", b"null", b"\xff\xfe{}"]
)
def test_a_file_that_is_no_tokenizer_is_named(tmp_path, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape("tokenizer.json cannot be read")):
        tokenizer_json.load({}, tmp_path, None)
