"""Bytes and characters."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from services.tokenizer.tokens.utf8 import byte_starts, incomplete


@given(st.text())
def test_every_character_begins_where_its_bytes_do(text):
    starts = byte_starts(text)
    assert [text.encode()[a:b].decode() for a, b in pairwise(starts)] == list(text)


@given(st.text(min_size=1), st.integers(1, 3))
def test_an_unfinished_character_is_counted(text, cut):
    size = len(text[-1].encode())
    data = text.encode()[: -min(cut, size)]
    assert incomplete(data) == max(size - cut, 0)


@given(st.text(), st.integers(0, 40))
def test_a_cut_anywhere_leaves_the_begun_character_unfinished(text, place):
    data = text.encode()[:place]
    whole = [start for start in byte_starts(text) if start <= len(data)][-1]
    assert incomplete(data) == len(data) - whole


@given(st.binary(max_size=12))
@example(b"\xed\xa0")
def test_bytes_of_no_text_leave_less_than_a_character_unfinished(data):
    rest = incomplete(data)
    assert 0 <= rest <= 3
    assert data[: len(data) - rest].decode(errors="replace") + "\ufffd" * (rest > 0) == data.decode(
        errors="replace"
    )
