"""Avatars: what is shipped is what is drawn, captions tell what is to be seen, nothing held out is learnt."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from services.finetune.recipes.peeps.attributes import Avatar
from services.finetune.recipes.peeps.captions import caption, full_caption
from services.finetune.recipes.peeps.dataset import (
    HELD_OUT,
    HELD_OUT_FOLDER,
    HELD_OUT_SEED,
    Peeps,
    avatars,
    make,
    pack,
)
from services.finetune.recipes.peeps.drawing import install, shrink

EMPTY = {"a", "an", "and", "of", "on", "with"} | {"art", "drawing", "pixel"}
EMPTY |= {"avatar", "character", "face", "person"} | {"background", "hair", "head", "shirt", "skin"}


@pytest.fixture(scope="module")
def held_out():
    return Peeps(HELD_OUT_FOLDER)


def test_what_is_shipped_is_what_its_seed_gives(held_out):
    expected = list(avatars(HELD_OUT, HELD_OUT_SEED))
    assert [each.attributes for each in held_out.avatars] == [each.attributes for each in expected]
    assert [each.style for each in held_out.avatars] == [each.style for each in expected]
    assert held_out.images.shape == (HELD_OUT, 128, 128, 3)


@pytest.mark.skipif(shutil.which("npm") is None, reason="drawing needs Node.js")
def test_drawing_gives_the_shipped_pictures(held_out, tmp_path):
    """The real DiceBear from the npm registry."""
    make(list(avatars(25, HELD_OUT_SEED)), 128, install(tmp_path / "node"), tmp_path / "drawn")
    drawn = Peeps(tmp_path / "drawn")
    np.testing.assert_array_equal(drawn.images, held_out.images[:25])
    pack(tmp_path / "drawn")
    packed = Peeps(tmp_path / "drawn")
    np.testing.assert_array_equal(packed.images, held_out.images[:25])
    assert packed.avatars == held_out.avatars[:25]


def test_nothing_held_out_is_learnt():
    kept_back = {repr(each) for each in avatars(HELD_OUT, HELD_OUT_SEED)}
    assert not kept_back & {repr(each) for each in avatars(7_000, 1)}  # number 6,639 would be one of them


def test_every_word_is_common():
    counts = Counter()
    for avatar in avatars(4000, 3):
        counts.update(avatar.attributes.items())
    rarest = min(counts.values())
    assert rarest > 4000 * 0.008, counts.most_common()[-5:]


def test_a_full_caption_tells_every_attribute(held_out):
    for avatar in held_out.avatars:
        told = full_caption(avatar)
        for word in avatar.attributes.values():
            assert word in told, (word, told)


def test_a_caption_says_nothing_that_is_not_so(held_out):
    """Each word of it is one of the avatar's, or one that says nothing."""
    chance = np.random.default_rng(0)
    for avatar in held_out.avatars:
        known = {part for word in avatar.attributes.values() for part in word.split()}
        said = set(caption(avatar, chance).replace(",", "").split())
        assert said <= known | EMPTY, (said - known - EMPTY, avatar)


def test_captions_vary_and_leave_things_out():
    avatar = next(iter(avatars(1, 9)))
    chance = np.random.default_rng(0)
    many = [caption(avatar, chance) for _ in range(50)]
    assert len(set(many)) > 40
    assert not any("  " in each or each.endswith((",", " ")) for each in many)


def test_a_caption_of_nothing_much():
    """Whatever is left out, a sentence remains."""
    bare = Avatar("pixel-art", {})
    chance = np.random.default_rng(0)
    told = {caption(bare, chance) for _ in range(50)}
    assert "pixel art of a person" in told
    assert all(told)


def test_shrinking_takes_means():
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    small = shrink(pixels, 2)
    assert small.shape == (2, 2, 2, 3)
    assert abs(int(small[0, 0, 0, 0]) - pixels[0, :2, :2, 0].mean()) <= 0.5
    np.testing.assert_array_equal(shrink(pixels, 4), pixels)


def test_more_avatars_begin_with_the_fewer():
    assert list(islice(avatars(50, 4), 10)) == list(avatars(10, 4))
