"""Pictures side by side, moving, at a model's size, and how far they are apart."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from services.gan.pictures import Moving, animation, fitted, grid, psnr


def flat(value, height=4, width=6):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 3, 2), (256, 16, 16)]
)
def test_grids_are_as_square_as_may_be(count, columns, rows):
    whole, found = grid([flat(place % 250) for place in range(count)])
    assert (found, whole.shape) == (columns, (rows * 4, columns * 6, 3))
    for place in range(count):
        assert whole[place // columns * 4, place % columns * 6, 0] == place % 250
    if count < columns * rows:
        assert (whole[-1, -1] == 255).all()


@pytest.mark.parametrize("kind", list(Moving))
def test_a_moving_picture_has_all_its_frames_and_lasts_as_long(kind):
    frames = [flat(40 * place) for place in range(6)]
    data = animation(frames, kind, 7)
    assert data == animation(frames, kind, 7)
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.n_frames, picture.info["loop"]) == (kind.value, 6, 0)
    lasted = 0
    for place in range(6):
        picture.seek(place)
        picture.load()
        lasted += picture.info["duration"]
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - 40 * place).max() <= 4
    assert lasted == pytest.approx(6000 / 7, abs=10)


def test_webp_is_lossless():
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8))
    picture = Image.open(io.BytesIO(animation(frames, Moving.WEBP, 30)))
    for place, frame in enumerate(frames):
        picture.seek(place)
        assert np.array_equal(np.asarray(picture.convert("RGB")), frame)


def test_smaller_pictures_are_means_of_squares():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    means = picture.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(fitted(picture, 16).astype(float) - means).max() <= 1
    assert fitted(picture, 32) is picture
    assert fitted(flat(9, 3, 50), 16).shape == (16, 16, 3)


def test_psnr():
    assert psnr(flat(7), flat(7)) == math.inf
    assert psnr(flat(0), flat(255)) == 0
    assert psnr(flat(100), flat(101)) == pytest.approx(48.13, abs=0.01)
