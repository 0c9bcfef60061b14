"""Bytes and characters."""

from itertools import pairwise

from hypothesis import given
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
