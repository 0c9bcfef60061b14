"""Files beside the networks: directions, training images' features, reference scores, an encoder."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.common.errors import Code, ServiceError
from services.gan.companions import directions, encoder, neighbours, references
from services.gan.vocabulary import Vocabulary
from tests.unit.gan.gan_models import WORDS


@pytest.fixture(scope="module")
def points():
    """500 points of length 1 that lie near a space of 12 dimensions."""
    chance = np.random.default_rng(0)
    low = chance.standard_normal((500, 12)) @ chance.standard_normal((12, 40))
    raised = low + 0.05 * chance.standard_normal((500, 40))
    return (raised / np.linalg.norm(raised, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def stated():
    chance = np.random.default_rng(1)
    rows = np.zeros((500, len(WORDS)), np.uint8)
    rows[np.arange(500), chance.integers(0, 3, 500)] = 1
    rows[:250, 3] = 1
    return rows


def test_directions_come_back_in_16_bits(tmp_path):
    written = {"glasses:none": np.arange(4) / 3, "style:pixel-art": -np.ones(4)}
    directions.write(tmp_path, written)
    found = directions.read(tmp_path, 4)
    assert list(found.vectors) == list(written)
    for name, vector in written.items():
        np.testing.assert_allclose(found.vectors[name], vector, atol=1e-3)


def test_a_direction_is_found_by_its_word_alone_where_only_one_has_it(tmp_path):
    names = ("clothes:red", "hair:red", "glasses:none")
    directions.write(tmp_path, {name: np.zeros(2) for name in names})
    found = directions.read(tmp_path, 2)
    assert found.resolve("none", "f") == "glasses:none"
    assert found.resolve("hair:red", "f") == "hair:red"
    with pytest.raises(
        ServiceError, match=r"f: there is no one direction 'red'; known: clothes:red, hair:red"
    ):
        found.resolve("red", "f")
    with pytest.raises(ServiceError, match="clothes:red, hair:red, glasses:none") as caught:
        found.resolve("smile", "f")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_directions_of_another_width_are_refused(tmp_path):
    directions.write(tmp_path, {"a:b": np.zeros(4)})
    with pytest.raises(ValueError, match="1 names of 5 numbers are needed"):
        directions.read(tmp_path, 5)


def test_reduced_points_have_nearly_the_same_cosines(points):
    reduced = neighbours.reduce(points, 13)
    for query in points[:50]:
        np.testing.assert_allclose(reduced.similarities(query), points @ query, atol=0.02)
    assert reduced.parts.dtype == np.int8


def test_more_parts_say_more(points):
    def worst(parts):
        reduced = neighbours.reduce(points, parts)
        return max(np.abs(reduced.similarities(each) - points @ each).max() for each in points[:50])

    assert worst(40) < worst(12) < worst(4)


def test_a_training_image_is_its_own_neighbour(points, stated, tmp_path):
    neighbours.write(tmp_path, "clip:1", neighbours.reduce(points, 12), Vocabulary(WORDS), stated)
    found = neighbours.read(tmp_path)
    assert (found.feature_model, len(found)) == ("clip:1", 500)
    hits = [found.nearest(points[place], 3) for place in range(100)]
    assert sum(hit[0].index == place for place, hit in enumerate(hits)) >= 98
    assert all(hit[0].similarity >= hit[1].similarity >= hit[2].similarity for hit in hits)


def test_captions_tell_what_is_stated(points, stated, tmp_path):
    neighbours.write(tmp_path, "clip:1", neighbours.reduce(points, 12), Vocabulary(WORDS), stated)
    found = neighbours.read(tmp_path)
    for place in (0, 100, 400):
        wanted = [f"{name}: {word}" for (name, word), has in zip(WORDS, stated[place], strict=True) if has]
        assert found.caption(place) == ", ".join(wanted)


def test_features_that_do_not_fit_each_other_are_refused(points, stated, tmp_path):
    neighbours.write(tmp_path, "clip:1", neighbours.reduce(points, 12), Vocabulary(WORDS), stated)
    tensors = load_file(tmp_path / neighbours.FILE)
    facts = {"feature_model": "clip:1", "words": '[["a"], ["b", "c"]]'}
    save_file(tensors | {"scales": tensors["scales"][1:]}, tmp_path / neighbours.FILE, facts)
    with pytest.raises(ValueError, match="do not fit each other"):
        neighbours.read(tmp_path)
    save_file(tensors, tmp_path / neighbours.FILE, facts)
    with pytest.raises(ValueError, match="names a word that is not there"):
        neighbours.read(tmp_path)


@pytest.mark.parametrize(
    ("logit", "percentile"),
    [(-9.0, 0), (0.0, 0), (0.5, 12.5), (1.0, 25), (2.0, 50), (2.5, 62.5), (4.0, 100), (99.0, 100)],
)
def test_percentiles_lie_between_the_marks(logit, percentile):
    found = references.read({"scores": {"real": [0, 1, 2, 3, 4], "made": [5, 5, 5]}})
    assert found.percentiles(logit)[0] == pytest.approx(percentile)


def test_equal_marks_and_none():
    found = references.read({"scores": {"real": [0, 1], "made": [5, 5, 6]}})
    assert found.percentiles(5.0) == (100.0, 0.0)
    assert found.percentiles(5.5) == (100.0, 75.0)
    assert references.read({}) is None
    with pytest.raises(ValueError, match=r"scores.made are no rising percentiles"):
        references.read({"scores": {"real": [0, 1], "made": [2, 1]}})


def test_an_encoder_is_linear_in_the_pixels(tmp_path):
    chance = np.random.default_rng(0)
    weights, offset = chance.standard_normal((768, 6)) / 30, chance.standard_normal(6)
    encoder.write(tmp_path, weights.astype(np.float32), offset.astype(np.float32))
    guess = encoder.read(tmp_path, 6)
    picture = chance.uniform(-1, 1, (3, 32, 32)).astype(np.float32)
    halved = picture.reshape(3, 16, 2, 16, 2).mean(axis=(2, 4)).ravel()
    np.testing.assert_allclose(guess(picture), halved @ weights + offset, atol=0.02)
    with pytest.raises(ValueError, match="styles have 7"):
        encoder.read(tmp_path, 7)


def test_without_files_there_is_nothing(tmp_path):
    assert directions.read(tmp_path, 4) is None
    assert neighbours.read(tmp_path) is None
    assert encoder.read(tmp_path, 4) is None


def test_a_vocabulary_takes_a_word_cut_short_where_it_is_clear():
    vocabulary = Vocabulary(WORDS)
    assert vocabulary.vector({"glasses": "round"}, "f").tolist() == [0, 0, 1, 0, 0]
    assert vocabulary.vector({"glasses": "glasses", "style": "open"}, "f").tolist() == [1, 0, 0, 1, 0]
    assert vocabulary.vector({}, "f").tolist() == [0] * 5
    for stated, message in (
        ({"glasses": ""}, r"f\[glasses\]: is ''; known: glasses, none, round glasses"),
        ({"glasses": "square"}, "known: glasses, none, round glasses"),
        ({"hat": "cap"}, "f: there is no attribute 'hat'; known: glasses, style"),
    ):
        with pytest.raises(ServiceError, match=message):
            vocabulary.vector(stated, "f")
    with pytest.raises(ServiceError, match="the model is not conditional"):
        Vocabulary(()).vector({"hat": "cap"}, "f")
