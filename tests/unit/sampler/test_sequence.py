"""A sequence: stop strings that never leak, whatever the slices; ids that agree with the text."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sampler.engine import Finish, Output
from services.sampler.ngrams.alphabet import Characters
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.sequence import Plan, Sequence, Stopping, Task, first_stop, held_back

ALPHABET = Characters("ABCD ")


class Pieces:
    """An alphabet whose symbols have several characters, or none, as tokens do."""

    size = 5
    texts = ("AB", "C", "", "ABC", "D D")

    def piece(self, symbol):
        return self.texts[symbol].encode()

    def decoder(self, prompt):
        return self

    def feed(self, ids):
        return [self.texts[i] for i in ids]


def make(alphabet=ALPHABET, **stopping):
    plan = Plan(
        Task.GENERATE,
        np.empty(0, np.int64),
        NgramOptions(1),
        stopping=Stopping(**{"max_tokens": 1000, **stopping}),
    )
    return Sequence(plan, 0, alphabet)


def feed(sequence, ids, cuts):
    """Give ``ids`` in slices; all outputs in order, up to the end."""
    outputs = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(ids)), len(ids)]
    for begin, end in pairwise(edges):
        if sequence.finish is None and end > begin:
            part = ids[begin:end]
            sequence.accept(part, [-1.0] * len(part), [])
            outputs.append(sequence.take())
    return outputs


def joined(outputs):
    whole = Output()
    for output in outputs:
        whole.add(output)
    return whole


ids_strategy = st.lists(st.integers(0, 4), min_size=1, max_size=40)
cuts_strategy = st.lists(st.integers(1, 39), max_size=8)
stops_strategy = st.lists(st.text("ABCD ", min_size=1, max_size=4), max_size=3).map(tuple)


def expected(text, stops, first=0):
    """The text a reader would have who looks at one character at a time, and the stop that ended it."""
    for end in range(1, len(text) + 1):
        for stop in sorted(stops, key=len, reverse=True):
            if end - len(stop) >= first and text[:end].endswith(stop):
                return text[: end - len(stop)], stop
    return text, ""


@given(ids_strategy, cuts_strategy, stops_strategy, st.integers(0, 10))
def test_slices_do_not_matter_and_nothing_leaks(ids, cuts, stops, min_tokens):
    sequence = make(max_tokens=len(ids), stop=stops, min_tokens=min(min_tokens, len(ids)))
    outputs = feed(sequence, ids, cuts)
    text, stop = expected("".join(ALPHABET.feed(ids)), stops, min(min_tokens, len(ids)))
    shown = ""
    for output in outputs:
        shown += output.text
        assert text.startswith(shown)
    whole = joined(outputs)
    assert (whole.text, whole.stop_matched) == (text, stop)
    assert whole.finish is (Finish.STOP if stop else Finish.LENGTH)
    assert "".join(ALPHABET.feed(whole.ids)) == text
    assert whole.logprob == -len(text)


@given(ids_strategy, cuts_strategy, stops_strategy)
def test_pieces_of_several_characters(ids, cuts, stops):
    alphabet = Pieces()
    whole = joined(feed(make(alphabet, max_tokens=len(ids), stop=stops), ids, cuts))
    text, stop = expected("".join(alphabet.feed(ids)), stops)
    assert (whole.text, whole.stop_matched) == (text, stop)
    covered = "".join(alphabet.feed(whole.ids))
    assert covered.startswith(text)
    assert stop or covered == text


def test_text_that_may_begin_a_stop_is_held_back():
    sequence = make(stop=("ABC",))
    assert [output.text for output in feed(sequence, [0, 1, 3, 0, 1], [2, 3])] == ["", "ABD", ""]
    sequence.accept([2], [-1.0], [])
    ended = sequence.take()
    assert (ended.text, ended.finish, ended.stop_matched) == ("", Finish.STOP, "ABC")


def test_what_was_held_back_comes_when_the_length_is_reached():
    (output,) = feed(make(stop=("ABC",), max_tokens=2), [0, 1], [])
    assert (output.text, output.ids, output.finish) == ("AB", [0, 1], Finish.LENGTH)


def test_a_stop_id_ends_before_itself():
    (output,) = feed(make(stop_ids=frozenset({2})), [0, 1, 2, 0], [])
    assert (output.text, output.ids, output.finish, output.stop_matched) == ("AB", [0, 1], Finish.STOP, "C")


def test_a_stop_string_before_a_stop_id_wins():
    (output,) = feed(make(stop=("B",), stop_ids=frozenset({2})), [0, 1, 2], [])
    assert (output.text, output.stop_matched) == ("A", "B")


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3, 4]])
def test_stops_count_after_min_tokens(cuts):
    sequence = make(stop=("B",), stop_ids=frozenset({2}), min_tokens=3)
    whole = joined(feed(sequence, [0, 1, 2, 0, 1, 2], cuts))
    assert (whole.text, whole.stop_matched) == ("ABCA", "B")


def test_the_stop_complete_first_wins_and_of_those_the_longest():
    assert first_stop("CABD", ("CABD", "AB"), 0) == (1, "AB")
    assert first_stop("CAB", ("B", "CAB", "AB"), 0) == (0, "CAB")
    assert first_stop("ABAB", ("AB",), 1) == (2, "AB")
    assert first_stop("ABAB", ("C",), 0) is None


def test_held_back_is_the_longest_beginning():
    assert held_back("xxAB", ("ABC", "BX")) == 2
    assert held_back("xxABA", ("ABAB",)) == 3
    assert held_back("xx", ("ABC",)) == 0
    assert held_back("", ("ABC",)) == 0


def test_many_stop_strings_at_once():
    stops = tuple("D" * n + "A" for n in range(1, 257))
    whole = joined(feed(make(stop=stops), [3] * 300 + [0], [7, 250]))
    assert (len(whole.text), whole.stop_matched) == (44, "D" * 256 + "A")
