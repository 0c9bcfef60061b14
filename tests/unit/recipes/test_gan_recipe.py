"""Recipe train_gan on a few avatars: it learns, leaves a version, and goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.common.store import Kind
from services.finetune.recipes import train_gan
from services.finetune.recipes.gan import losses
from services.finetune.recipes.gan.augmentation import Augmentation
from services.finetune.recipes.peeps.attributed import Attributed
from services.finetune.recipes.peeps.attributes import Avatar
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.vector import ATTRIBUTES, VOCABULARY, vector, vectors
from services.gan.families.stylegan import Config, Discriminator, Generator
from tests.stopping import stopped_after

TINY = Config.of(16, attributes=len(VOCABULARY), finest=8, most=16)
OPTIONS = train_gan.Options(
    size=16, finest=8, most=16, steps=8, batch=8, r1_every=3, half_life=50, look_every=4, device="cpu"
)


@pytest.fixture(scope="module")
def peeps():
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    return few


def trained(peeps, home, options=OPTIONS):
    out = home / "store/tiny/1"
    return train_gan.train(peeps, peeps, home / "work", out, options), out


def test_a_gan_learns_and_is_published(peeps, tmp_path):
    manifest, out = trained(peeps, tmp_path, replace(OPTIONS, steps=60, look_every=20))
    assert (manifest.kind, manifest.family) == (Kind.GAN, "stylegan")
    first, *_, last = manifest.config["curve"]
    assert abs(last["loss"] - first["loss"]) > 0.01
    assert last["pictures_seen"] == 480
    assert {"real_right", "made_right", "r1", "chance", "generator_gradient", "critic_gradient"} <= set(last)
    assert {"accuracy", "saturated", "spread", "modes", "duplicates", "recall"} <= set(last)
    assert manifest.metrics["variety"] > 0.01
    assert (tmp_path / "work/previews-000060.png").stat().st_size > 1000
    scores = manifest.config["scores"]["real"]
    assert scores == sorted(scores)

    config = Config.of(16, len(manifest.config["attributes"]), finest=8, most=16)
    for name, network in (("generator", Generator(config)), ("discriminator", Discriminator(config))):
        weights = load_file(out / f"{name}.safetensors")
        assert {each.dtype for each in weights.values()} == {torch.float16}
        network.load_state_dict(weights)
        assert all(each.isfinite().all() for each in weights.values())
    assert load_file(out / "generator.safetensors")["mapping.mean"].abs().sum() > 0


SHORT = (losses.NON_SATURATING, losses.WGAN_GP)
"""The loss of the shipped model, and the one with most to remember."""


@pytest.mark.parametrize(
    "loss",
    [pytest.param(each, marks=() if each in SHORT else pytest.mark.slow) for each in losses.LOSSES],
)
def test_what_was_stopped_goes_on_to_the_same_weights(loss, peeps, tmp_path):
    options = replace(OPTIONS, loss=loss)
    _, whole = trained(peeps, tmp_path / "whole", options)
    with stopped_after(3):
        trained(peeps, tmp_path / "parts", options)
    _, parts = trained(peeps, tmp_path / "parts", options)
    for name in ("generator.safetensors", "discriminator.safetensors"):
        expected, found = load_file(whole / name), load_file(parts / name)
        assert all(torch.equal(expected[each], found[each]) for each in expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "No such file or directory: 'nowhere/avatars.jsonl'"),
        (
            ["--data", str(HELD_OUT_FOLDER), "--loss", "wishful"],
            "--loss must be non_saturating, relativistic",
        ),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        train_gan.main([*arguments, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "store/a/1")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_vector_tells_what_is_stated():
    row = vector({"hair": "bun", "glasses": "none"})
    assert [VOCABULARY[place] for place in np.flatnonzero(row)] == [("glasses", "none"), ("hair", "bun")]
    assert not vector({}).any()
    assert list(VOCABULARY) == sorted(VOCABULARY)


@pytest.mark.parametrize(
    ("stated", "said"),
    [({"wings": "large"}, "no attribute 'wings'"), ({"skin": "blue"}, "one of brown, dark, light, tan")],
)
def test_what_no_avatar_can_have_is_refused(stated, said):
    with pytest.raises(ValueError, match=said):
        vector(stated)


def test_what_an_avatar_lacks_is_stated(peeps):
    (row,) = vectors([Avatar("pixel-art", {"skin": "dark", "hat": "cap"})])
    stated = {VOCABULARY[place] for place in np.flatnonzero(row)}
    assert {("glasses", "none"), ("hat", "cap"), ("style", "pixel-art")} < stated
    assert ("hat", "none") not in stated
    assert vectors(peeps.avatars).sum(axis=1).min() >= 8


def test_attributes_are_left_out_whole(peeps):
    data = Attributed(peeps, 16, torch.device("cpu"))
    torch.manual_seed(0)
    _, stated = data.draw(2000)
    told = data.forget(stated, 0.2, 0.25)
    assert ((told == stated) | (told == 0)).all()
    assert (told.sum(dim=1) == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert told.sum() / stated.sum() == pytest.approx(0.8 * 0.75, abs=0.03)
    assert len(ATTRIBUTES) == 13


def test_augmentations_begin_with_none_and_grow_where_the_discriminator_is_sure():
    augmentation = Augmentation(0.6)
    pictures = torch.rand(64, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(augmentation(pictures), pictures)
    for _ in range(50):
        augmentation.steer(torch.ones(4000))
    assert 0.5 < augmentation.chance <= 0.8
    changed = ((augmentation(pictures) - pictures).abs() > 1e-3).flatten(1).any(dim=1).float().mean()
    assert changed > 0.8
    for _ in range(80):
        augmentation.steer(-torch.ones(4000))
    assert augmentation.chance == 0


def test_augmentations_let_gradients_through():
    augmentation = Augmentation(0.6)
    augmentation.chance.fill_(0.8)
    pictures = torch.rand(8, 3, 16, 16, requires_grad=True)
    augmentation(pictures).sum().backward()
    assert (pictures.grad.flatten(1).abs().sum(dim=1) > 0).all()
