"""Numbers of a seed, and the ways from code to code."""

from __future__ import annotations

import numpy as np
import pytest

from services.gan.latent.codes import curved, mixed, place_of, shifted, straight, truncated
from services.gan.latent.drawing import latent_of, noise_of


def test_a_seed_gives_the_same_numbers_whatever_came_before():
    first = latent_of(7, 64)
    latent_of(8, 64)
    noise_of(7, 10, 1.0)
    assert np.array_equal(latent_of(7, 64), first)
    assert first.dtype == np.float32


def test_a_longer_latent_vector_begins_as_a_shorter_one():
    assert np.array_equal(latent_of(3, 100)[:40], latent_of(3, 40))


def test_seeds_and_uses_are_different_streams():
    drawn = [latent_of(0, 4000), latent_of(1, 4000), noise_of(0, 4000, 1.0), latent_of(2**64 - 1, 4000)]
    correlations = np.corrcoef(drawn) - np.eye(4)
    assert np.abs(correlations).max() < 0.08
    assert abs(np.mean(drawn)) < 0.05
    assert abs(np.std(drawn) - 1) < 0.05


def test_noise_has_its_strength():
    assert np.array_equal(noise_of(5, 100, 0.0), np.zeros(100))
    np.testing.assert_allclose(noise_of(5, 100, 0.5), 0.5 * noise_of(5, 100, 1.0))


def test_truncation_moves_the_first_layers_towards_the_mean():
    w, mean = np.array([2.0, 4.0], np.float32), np.array([0.0, 2.0], np.float32)
    code = truncated(w, mean, 0.5, 2, 3)
    assert code.tolist() == [[1, 3], [1, 3], [2, 4]]
    assert truncated(w, mean, 0.0, 0, 2).tolist() == [[0, 2], [0, 2]]
    assert truncated(w, mean, -1.0, 0, 1).tolist() == [[-2, 0]]
    assert truncated(w, mean, 1.0, 0, 2).tolist() == [[2, 4], [2, 4]]


def test_mixing_takes_layers_and_changes_no_donor():
    codes = [np.full((4, 2), each, np.float32) for each in (0, 1, 2)]
    code = mixed(codes, [(0, 3), (1,)])
    assert code[:, 0].tolist() == [1, 2, 0, 1]
    assert [each.mean() for each in codes] == [0, 1, 2]


@pytest.mark.parametrize("go", [straight, curved])
def test_a_way_begins_and_ends_where_it_should(go):
    chance = np.random.default_rng(0)
    begin, end = chance.standard_normal((2, 5, 9)).astype(np.float32)
    np.testing.assert_allclose(go(begin, end, 0.0), begin, atol=1e-6)
    np.testing.assert_allclose(go(begin, end, 1.0), end, atol=1e-6)


def test_a_straight_way_meets_its_ends_exactly():
    begin, end = np.random.default_rng(1).standard_normal((2, 50)).astype(np.float32)
    assert np.array_equal(straight(begin, end, 0.0), begin)
    assert np.array_equal(straight(begin, end, 1.0), end)


def test_a_great_circle_keeps_the_length_and_turns_evenly():
    begin, end = np.array([3.0, 0, 0], np.float32), np.array([0, 3.0, 0], np.float32)
    for share in (0.25, 0.5, 0.9):
        found = curved(begin, end, share)
        assert abs(np.linalg.norm(found) - 3) < 1e-6
        assert abs(np.arctan2(found[1], found[0]) - share * np.pi / 2) < 1e-6


@pytest.mark.parametrize("end", [[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [0.0, 0.0]])
def test_where_there_is_no_great_circle_the_way_is_straight(end):
    begin, end = np.array([1.0, 2.0], np.float32), np.array(end, np.float32)
    np.testing.assert_allclose(curved(begin, end, 0.25), 0.75 * begin + 0.25 * end, atol=1e-5)


def test_frames_lie_evenly_on_the_legs():
    places = [place_of(frame, 5, 2) for frame in range(5)]
    assert places == [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (1, 1.0)]
    assert place_of(599, 600, 63) == (62, 1.0)


def test_edits_add_up():
    code = np.zeros((2, 2), np.float32)
    ways = {"a": np.array([1.0, 0], np.float32), "b": np.array([0, 2.0], np.float32)}
    assert shifted(code, ways, {"a": 3, "b": -0.5}).tolist() == [[3, -1], [3, -1]]
