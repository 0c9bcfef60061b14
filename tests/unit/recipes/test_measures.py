"""Measures of sets against their formulas written out, and on sets whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.finetune.recipes import pretrain_clip
from services.finetune.recipes.measures import sets
from services.finetune.recipes.measures.features import Features, sized
from services.finetune.recipes.measures.sets import Coverage, coverage, discrepancy, kid, nearest, radii
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.pictures import pictures


def points(count, seed, width=6, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (count, width)).astype(np.float32)


def slow_discrepancy(a, b):
    def kernel(x, y):
        return (sum(float(p) * float(q) for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def among(of):
        pairs = [(i, j) for i in range(len(of)) for j in range(len(of)) if i != j]
        return sum(kernel(of[i], of[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
    return among(a) + among(b) - 2 * between


def slow_share(of, members, k):
    def far(x, y):
        return np.linalg.norm(x.astype(np.float64) - y.astype(np.float64))

    reach = [
        sorted(far(m, other) for place, other in enumerate(members) if place != own)[k - 1]
        for own, m in enumerate(members)
    ]
    return np.mean([any(far(x, m) <= r + 1e-9 for m, r in zip(members, reach, strict=True)) for x in of])


def test_the_discrepancy_is_that_of_the_formula():
    a, b = points(12, 1), points(9, 2, shift=0.5)
    assert discrepancy(a, b) == pytest.approx(slow_discrepancy(a, b), rel=1e-10)


def test_the_discrepancy_has_no_bias():
    estimates = [discrepancy(points(10, 2 * seed), points(10, 2 * seed + 1)) for seed in range(2000)]
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates)) < 3 * error
    assert min(estimates) < 0


def test_the_discrepancy_of_two_known_distributions():
    # One dimension, N(0, 1) and N(1, 1): kernel (x y + 1)^3 = 1 + 3 x y + 3 x^2 y^2 + x^3 y^3, whose features
    # have means that differ by 1, 1 and 4: the moments are 0, 1, 0 and 1, 2, 4. Thus 3 + 3 + 16.
    a, b = points(40_000, 1, width=1), points(40_000, 2, width=1, shift=1.0)
    estimates = [discrepancy(x, y) for x, y in zip(np.split(a, 40), np.split(b, 40), strict=True)]
    assert np.mean(estimates) == pytest.approx(22, rel=0.1)


def test_a_kernel_distance_is_a_mean_over_subsets():
    a, b = points(300, 1), points(280, 2)
    alike, other = kid(a, b), kid(a, b + 1)
    assert abs(alike.mean) < 2 * alike.deviation
    assert other.mean > 10 * alike.deviation
    assert kid(a, b) == alike
    whole = kid(a[:280], b, subsets=3, size=10_000)
    assert whole.mean == pytest.approx(np.mean([discrepancy(a[:280], b)]), rel=1e-9)
    assert whole.deviation == pytest.approx(0, abs=1e-9)


def test_precision_and_recall_are_those_of_the_formula():
    a, b = points(40, 1, width=2), points(50, 2, width=2, shift=0.8)
    for k in (1, 3):
        given = coverage(a, b, k)
        assert given.precision == pytest.approx(slow_share(a, b, k))
        assert given.recall == pytest.approx(slow_share(b, a, k))


def test_precision_and_recall_where_the_answer_is_known():
    a = points(200, 1)
    assert coverage(a, a.copy()) == Coverage(1.0, 1.0)
    assert coverage(a, a + 100) == Coverage(0.0, 0.0)
    two_clouds = np.concatenate([a, points(200, 2) + 50])
    half = coverage(points(200, 3), two_clouds)  # all of it real, half of what is real
    assert half.precision > 0.75
    assert 0.3 < half.recall <= 0.5
    collapsed = np.repeat(a[:1], 100, axis=0)
    assert coverage(collapsed, a) == Coverage(1.0, 1 / 200)


def test_a_radius_is_no_nearer_than_points_that_lie_together():
    line = np.array([[0.0], [0.0], [3.0], [7.0]])
    assert radii(line, 1).tolist() == [0, 0, 3, 4]
    assert radii(line, 2).tolist() == [3, 3, 3, 7]


def test_neighbours_are_the_nearest(monkeypatch):
    monkeypatch.setattr(sets, "_ROWS", 7)
    queries, among = points(20, 1), points(33, 2)
    places, distances = nearest(queries, among)
    every = np.linalg.norm(queries[:, None] - among[None], axis=2)
    assert places.tolist() == every.argmin(axis=1).tolist()
    assert distances == pytest.approx(every.min(axis=1), rel=1e-5)
    assert nearest(among[5:6], np.concatenate([among, among]))[0].tolist() == [5]
    assert coverage(queries, among) == Coverage(slow_share(queries, among, 3), slow_share(among, queries, 3))


def test_sets_too_small_are_refused():
    with pytest.raises(ValueError, match="sets of 1 and 1 are too small to compare"):
        kid(points(1, 1), points(5, 1))
    with pytest.raises(ValueError, match="of 3 points, none has 3 neighbours"):
        coverage(points(3, 1), points(5, 1))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    home = tmp_path_factory.mktemp("clip")
    options = pretrain_clip.Options(width=32, text_layers=1, image_layers=1, dimensions=16, steps=1, batch=8)
    pretrain_clip.train(few, few, home / "work", home / "store/peeps-clip/1", options)
    return home / "store/peeps-clip/1"


def test_features_are_those_of_the_image_tower(clip):
    from transformers import CLIPModel

    features = Features(clip, torch.device("cpu"))
    assert features.name == "peeps-clip-v1"
    large = pictures(Peeps(HELD_OUT_FOLDER).images[:3])
    seen = features.of(large)
    assert (seen.shape, seen.dtype) == ((3, 32), np.float32)
    model = CLIPModel.from_pretrained(clip, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = model.vision_model(pixel_values=sized(large, 64)).pooler_output
    assert seen == pytest.approx(wanted.numpy(), abs=1e-5)


def test_pictures_of_any_size_are_brought_to_the_towers():
    flat = torch.full((1, 3, 32, 32), 0.25)
    for size in (16, 32, 64, 128):
        brought = sized(torch.full((1, 3, size, size), 0.25), 32)
        assert torch.equal(brought, flat)
    with pytest.raises(ValueError, match="pictures of 100 pixels a side do not shrink to 64"):
        sized(torch.ones(1, 3, 100, 100), 64)


def test_a_folder_without_an_image_tower_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="it is no version of an image tower"):
        Features(tmp_path, torch.device("cpu"))
