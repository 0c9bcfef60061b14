"""Word vectors: the vocabulary, exact search against a plain one, files of every kind."""

import struct

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import Code, Reason, ServiceError
from services.common.store import ModelStore
from services.tokenizer.families import int8_rows
from services.tokenizer.loader import ModelLoader
from services.tokenizer.words.vectors import WordVectors
from services.tokenizer.words.vocabulary import Vocabulary, layout

WORDS = ["the", "a", "an", "anchor", "and", "后", "naïve", "whale", "whale's", "z"]


def vocabulary(words=WORDS, lowercase=False):
    parts = layout([word.encode() for word in words])
    return Vocabulary(parts["text"], parts["ends"], parts["order"], lowercase)


def random_vectors(count, dimensions=6, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def model(vectors, words=None):
    norms = np.linalg.norm(vectors, axis=1)
    unit = (vectors / np.maximum(norms, 1e-30)[:, None]).astype(np.float32)
    return WordVectors(vocabulary(words or [f"w{i:03}" for i in range(len(vectors))]), unit, norms)


def plain_ranking(scores, exclude, limit):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return [i for i in order if i not in exclude][:limit]


def test_every_word_has_its_number_and_every_number_its_word():
    known = vocabulary()
    assert [known.number(word) for word in WORDS] == list(range(len(WORDS)))
    assert [known.word(number) for number in range(len(known))] == WORDS


@pytest.mark.parametrize("word", ["", "th", "them", "THE", "zz", "\udcff".encode(errors="replace").decode()])
def test_other_words_have_none(word):
    assert vocabulary().number(word) is None


def test_a_lowercase_vocabulary_lowers_what_is_asked():
    assert vocabulary(lowercase=True).number("WHALE") == WORDS.index("whale")


@given(st.lists(st.text(max_size=4), min_size=1, max_size=30, unique=True), st.text(max_size=4))
def test_words_of_any_spelling_are_found_and_no_others(words, other):
    known = vocabulary(words)
    assert [known.number(known.word(number)) for number in range(len(words))] == list(range(len(words)))
    assert known.number(other) == (words.index(other) if other in words else None)


def test_neighbours_are_those_of_a_plain_search():
    vectors = random_vectors(50)
    vectors[7] = vectors[3]  # a tie, which frequency decides
    made, query = model(vectors), random_vectors(1, seed=1)[0]
    cosines = made.unit @ (query / np.linalg.norm(query))
    found = made.near(query, 12, {5})
    assert [each.number for each in found] == plain_ranking(cosines.tolist(), {5}, 12)


def test_analogies_are_those_of_a_plain_search():
    made = model(random_vectors(40))
    target = made.unit[1] + made.unit[2] - made.unit[3]
    expected = plain_ranking((made.unit @ target).tolist(), {1, 2, 3}, 5)
    assert [each.number for each in made.add([1, 2], [3], 5)] == expected
    likeness = (1 + made.unit @ made.unit[[1, 2, 3]].T) / 2
    products = likeness[:, 0] * likeness[:, 1] / (likeness[:, 2] + 0.001)
    expected = plain_ranking(products.tolist(), {1, 2, 3}, 5)
    assert [each.number for each in made.multiply([1, 2], [3], 5)] == expected


def test_a_limit_beyond_the_vocabulary_gives_all_there_is():
    made = model(random_vectors(6))
    assert len(made.near(made.unit[0], 100, {0})) == 5
    assert made.near(made.unit[0], 3, set(range(6))) == []


@pytest.mark.parametrize(
    ("positive", "negative"), [([2], [2]), ([1, 2, 3], [3, 1, 2]), ([1, 1, 4], [4, 1, 1])]
)
def test_words_less_themselves_are_like_nothing(positive, negative):
    assert model(random_vectors(40, 300)).add(positive, negative, 3) == []


def test_a_word_counts_as_often_as_it_is_given():
    made = model(random_vectors(40))
    target = 2 * made.unit[1] + made.unit[2] - made.unit[3]
    expected = plain_ranking((made.unit @ target).tolist(), {1, 2, 3}, 5)
    assert [each.number for each in made.add([1, 2, 1], [3], 5)] == expected


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_tiny_and_huge_vectors_have_the_neighbours_of_their_direction(scale):
    made, query = model(random_vectors(50)), np.sign(random_vectors(1, seed=1)[0])
    found = made.near(query * np.float32(scale), 5, ())
    assert [each.number for each in found] == [each.number for each in made.near(query, 5, ())]


def test_near_a_zero_vector_there_is_nothing():
    assert model(random_vectors(5)).near(np.zeros(6, np.float32), 3, ()) == []


def test_no_cosine_is_above_1():
    made = model(random_vectors(200, 300))
    best = [made.near(vector, 1, ())[0] for vector in made.unit]
    assert [each.number for each in best] == list(range(200))
    assert max(each.score for each in best) <= 1


def test_a_zero_vector_is_like_nothing():
    vectors = random_vectors(5)
    vectors[4] = 0
    assert model(vectors).compare(4, 1) == (0.0, 0.0)


def test_comparison_is_in_the_length_of_the_vectors():
    vectors = random_vectors(5)
    dot, cosine = model(vectors).compare(1, 2)
    assert dot == pytest.approx(float(vectors[1] @ vectors[2]), rel=1e-4)
    assert cosine == pytest.approx(dot / np.linalg.norm(vectors[1]) / np.linalg.norm(vectors[2]), rel=1e-4)


def test_rows_of_8_bits_keep_the_direction(tmp_path):
    vectors = random_vectors(len(WORDS), 100)
    int8_rows.save(WORDS, vectors, tmp_path)
    loaded = int8_rows.load({}, tmp_path, None)
    cosines = (loaded.unit * vectors).sum(axis=1) / np.linalg.norm(vectors, axis=1)
    assert cosines.min() > 0.999
    np.testing.assert_allclose(loaded.norms, np.linalg.norm(vectors, axis=1), rtol=0.01)
    assert loaded.vocabulary.number("后") == 5


def test_words_and_rows_that_do_not_fit_together_are_refused(tmp_path):
    int8_rows.save(WORDS, random_vectors(len(WORDS)), tmp_path)
    (tmp_path / "words.txt").write_text("one\ntwo")
    with pytest.raises(ValueError, match="2 words"):
        int8_rows.load({}, tmp_path, None)


@pytest.mark.parametrize("content", [b"", b"nothing", struct.pack("<Q", 2) + b"{]"])
def test_a_broken_file_of_rows_is_named(tmp_path, content):
    int8_rows.save(WORDS, random_vectors(len(WORDS)), tmp_path)
    (tmp_path / "vectors.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"vectors\.safetensors cannot be read"):
        int8_rows.load({}, tmp_path, None)


class Files:
    """Loads ``file:`` references as the service does."""

    def __init__(self, folder):
        self.folder = folder
        self.store = ModelStore([], folder / "cache", [folder])

    async def load(self, path):
        version = await self.store.resolve(f"file:{path}")
        loader = ModelLoader(self.store, None)
        return loader.load(version, await self.store.fetch(version))


@pytest.fixture
def reference():
    vectors = KeyedVectors(20)
    vectors.add_vectors(WORDS, random_vectors(len(WORDS), 20))
    return vectors


@pytest.mark.parametrize("name", ["vectors.bin", "vectors.txt"])
async def test_a_word2vec_file_gives_the_neighbours_that_gensim_gives(tmp_path, reference, name):
    reference.save_word2vec_format(tmp_path / name, binary=name.endswith("bin"))
    loaded = (await Files(tmp_path).load(tmp_path / name)).vectors
    for number, word in enumerate(WORDS):
        found = loaded.near(loaded.unit[number], 4, {number})
        expected = reference.most_similar(word, topn=4)
        assert [loaded.vocabulary.word(each.number) for each in found] == [each for each, _ in expected]
        np.testing.assert_allclose([e.score for e in found], [score for _, score in expected], atol=1e-5)


async def test_a_word2vec_file_is_converted_once(tmp_path, reference):
    reference.save_word2vec_format(tmp_path / "vectors.bin", binary=True)
    await Files(tmp_path).load(tmp_path / "vectors.bin")
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("cache/exports/*/word-vectors/*")}
    assert kept
    await Files(tmp_path).load(tmp_path / "vectors.bin")
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


async def test_of_a_word_that_comes_twice_the_first_counts(tmp_path):
    (tmp_path / "v.txt").write_text("3 2\na 1 0\nb 0 1\na 0 5\n")
    loaded = (await Files(tmp_path).load(tmp_path / "v.txt")).vectors
    assert len(loaded.vocabulary) == 2
    np.testing.assert_allclose(loaded.vector(0), [1, 0])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.txt", b"2 2\r\na 3 4\r\nb 0 1\r\n"),
        ("v.txt", b"2 2\na 3 4 \nb 0 1 "),
        ("v.vec", b"2 2\na 3 4\nb 0 1\n\n"),
        ("v.bin", b"2 2\na " + struct.pack("<2f", 3, 4) + b"b " + struct.pack("<2f", 0, 1)),
        ("v.bin", b"2 2\na " + struct.pack("<2f", 3, 4) + b"\nb " + struct.pack("<2f", 0, 1) + b"\n"),
        ("v.bin", b"2 2\r\na " + struct.pack("<2f", 3, 4) + b"\r\nb " + struct.pack("<2f", 0, 1) + b"\r\n"),
    ],
)
async def test_every_way_to_end_a_line_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    loaded = (await Files(tmp_path).load(tmp_path / name)).vectors
    assert [loaded.vocabulary.word(number) for number in range(len(loaded.vocabulary))] == ["a", "b"]
    np.testing.assert_allclose([loaded.vector(0), loaded.vector(1)], [[3, 4], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.txt", b"3 1\nna\xefve 1\n\xff 2\nsea 3\n"),
        ("v.bin", b"3 1\nna\xefve " + struct.pack("<f", 1) + b"\xff \0\0\0@sea \0\0@@"),
    ],
)
async def test_words_that_are_no_utf8_are_shown_as_well_as_can_be(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    loaded = (await Files(tmp_path).load(tmp_path / name)).vectors
    assert [loaded.vocabulary.word(number) for number in range(3)] == ["na\ufffdve", "\ufffd", "sea"]
    assert (loaded.vocabulary.number("sea"), loaded.vector(2).tolist()) == (2, [3])


async def test_vectors_longer_than_a_block_are_read(tmp_path):
    dimensions = 300_000
    (tmp_path / "v.bin").write_bytes(
        f"2 {dimensions}\n".encode()
        + b"".join(
            word + np.full(dimensions, value, "<f4").tobytes() for word, value in ((b"a ", 1), (b"b ", 2))
        )
    )
    loaded = (await Files(tmp_path).load(tmp_path / "v.bin")).vectors
    np.testing.assert_allclose(loaded.vector(1), 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("v.bin", b"999999999999 300\nword " + b"\0" * 1200, "word 1 of 999999999999"),
        ("v.txt", b"999999999999 1\na 1\n", "line 3 of 1000000000000"),
        ("v.txt", b"0 3\n", "0 words of 3 dimensions"),
        ("v.txt", b"1 0\na\n", "1 words of 0 dimensions"),
        ("v.txt", b"1 2\na 1 2\nb 3 4\n", "1 words, and more follow"),
        ("v.bin", b"1 1\na \0\0\0@b \0\0@@", "1 words, and more follow"),
        ("v.txt", b"1 2\na one 2\n", "line 2 of 2: could not convert"),
        ("v.txt", b"2 2\na 1 2\nb nan 1\n", "'b' is not finite"),
        ("v.txt", b"1 2\na 1e99 1\n", "'a' is not finite"),
        ("v.bin", b"1 1\na \0\0\x80\x7f", "'a' is not finite"),
        ("v.bin", b"3 4\nword " + b"\0" * 16 + b"half", "word 1 of 3"),
        ("v.txt", b"2 3\na 1 2 3\nb 1 2\n", "line 3 of 3"),
        ("v.txt", b"2 3\na 1 2 3\n", "line 3 of 3"),
    ],
)
async def test_a_file_that_is_not_what_its_first_line_says_is_refused(tmp_path, name, content, part):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ServiceError, match=part) as caught:
        await Files(tmp_path).load(tmp_path / name)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.LOAD_FAILED)


@pytest.mark.parametrize("content", [b"\x80\x04\x95pickle", b"word 1 2 3\n", b""])
async def test_other_files_are_refused_as_no_word_vectors(tmp_path, content):
    (tmp_path / "v.bin").write_bytes(content)
    with pytest.raises(ServiceError, match="word vectors") as caught:
        await Files(tmp_path).load(tmp_path / "v.bin")
    assert caught.value.reason is Reason.UNSAFE_FORMAT
