"""The shipped encodings: the library's own ids, any text byte for byte, special tokens by choice only."""

import base64
import json
from functools import cache
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from services.tokenizer.families import tiktoken as family
from services.tokenizer.tokens.encoding import Specials

MODELS = Path(__file__).parents[3] / "models"
LECTURE = 'Who\'d use "后" vs. "後"?'
TEXTS = [
    LECTURE,
    "",
    " ",
    "Call me Ishmael.\n\n\tSome years ago",
    "👩‍👩‍👧 e\u0301 ﷽ 0123456789",
    "don't  stop",
]


@cache
def config(name):
    return json.loads((MODELS / name / "1" / "model.json").read_text())["config"]


@cache
def encoding(name):
    return family.load(config(name), MODELS / name / "1", None)


@cache
def reference(name):
    # Not the library's reader: it would take a copy from the temporary folder.
    lines = (MODELS / name / "1" / "ranks.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    special = config(name)["special_tokens"]
    return tiktoken.Encoding(
        name, pat_str=config(name)["pattern"], mergeable_ranks=ranks, special_tokens=special
    )


@pytest.mark.parametrize(("name", "count"), [("cl100k", 11), ("gpt2", 13)])
def test_the_lectures_text(name, count):
    assert encoding(name).count(LECTURE, Specials()) == count


@pytest.mark.parametrize("name", ["cl100k", "gpt2"])
@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_the_librarys_own(name, text):
    assert encoding(name).encode(text, Specials(), offsets=False).ids == reference(name).encode_ordinary(text)


@given(st.text(max_size=200), st.sampled_from(["cl100k", "gpt2"]))
def test_any_text_comes_back_and_offsets_cut_it_into_the_pieces(text, name):
    cut = encoding(name).encode(text, Specials(), offsets=True)
    data = text.encode()
    pieces = [encoding(name).piece(token) for token in cut.ids]
    assert b"".join(pieces) == data == encoding(name).decode(cut.ids, skip_special=False)
    assert [data[a:b] for a, b in zip(cut.starts, cut.ends, strict=True)] == pieces
    assert encoding(name).count(text, Specials()) == len(cut.ids)


@pytest.mark.parametrize("unit", [" ", "\t", "\n", " \n", "a", "^", "\u0301", "\u3000", "后"])
def test_a_mebibyte_of_one_thing_loses_no_byte(unit):
    text = unit * (2**20 // len(unit.encode())) + "x"
    cut = encoding("cl100k").encode(text, Specials(), offsets=False)
    assert encoding("cl100k").decode(cut.ids, skip_special=False) == text.encode()


@pytest.mark.parametrize("name", ["cl100k", "gpt2"])
@pytest.mark.parametrize("length", [99_999, 100_001, 300_000, 899_990])
def test_long_runs_of_white_space_are_cut_as_the_library_cuts_them(name, length):
    text = f"a{' ' * length}b"
    expected = reference(name).encode_to_numpy(text, disallowed_special=()).tolist()
    assert encoding(name).encode(text, Specials(), offsets=False).ids == expected


def test_special_tokens_are_text_unless_allowed():
    text = "a<|endoftext|>b<|fim_prefix|>"
    cut = encoding("cl100k")
    assert 100257 not in cut.encode(text, Specials(), offsets=False).ids
    one = cut.encode(text, Specials(frozenset({"<|endoftext|>"})), offsets=True)
    assert one.ids[1] == 100257
    assert 100258 not in one.ids
    assert (one.starts[1], one.ends[1]) == (1, 14)
    both = cut.encode(text, Specials(frozenset(cut.special_tokens)), offsets=False)
    assert {100257, 100258} <= set(both.ids)
    assert cut.decode(both.ids, skip_special=True) == b"ab"


def test_numbers_between_the_ranks_and_the_special_tokens_are_no_ids():
    assert encoding("cl100k").has(100255)
    assert not encoding("cl100k").has(100256)
    assert encoding("cl100k").has(100257)
    assert not encoding("cl100k").has(100277)
