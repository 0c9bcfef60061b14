"""What recipe train_gan leaves beside the networks: fits that find what was put in, features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from services.finetune.recipes import train_gan
from services.finetune.recipes.gan import companions
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.vector import VOCABULARY, vectors
from services.gan.companions import directions, encoder, neighbours
from services.gan.families.stylegan import Config, Generator
from tests.unit.clip_models import directory as clip_directory

WORDS = len(VOCABULARY)
CONFIG = Config.of(16, attributes=WORDS, finest=8, most=16)


@pytest.fixture(scope="module")
def peeps():
    return Peeps(HELD_OUT_FOLDER)


@pytest.fixture(scope="module")
def stated(peeps):
    return vectors(peeps.avatars)


class Linear(nn.Module):
    """A mapping network that adds a way for each word to what a latent vector gives."""

    def __init__(self, ways: torch.Tensor) -> None:
        super().__init__()
        self.ways = nn.Parameter(ways)

    def forward(self, z: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
        return attributes @ self.ways + 0.1 * z[:, : self.ways.shape[1]]


@pytest.fixture
def linear():
    torch.manual_seed(0)
    generator = Generator(CONFIG)
    generator.mapping = Linear(torch.randn(WORDS, CONFIG.width))
    return generator


def test_directions_are_the_ways_that_words_have(linear, stated):
    found, explained = companions.fit_directions(linear, stated)
    assert explained > 0.95
    ways = linear.mapping.ways.detach().numpy()
    for name, word in (("glasses", "round glasses"), ("expression", "smiling"), ("style", "pixel-art")):
        place = VOCABULARY.index((name, word))
        others = [at for at, (owner, _) in enumerate(VOCABULARY) if owner == name and at != place]
        truth = ways[place] - ways[others].mean(axis=0)
        way = found[f"{name}:{word}"]
        cosine = way @ truth / np.linalg.norm(way) / np.linalg.norm(truth)
        assert cosine > 0.9, (name, word, cosine)
        spread = stated[:, place].std()
        assert np.linalg.norm(way) == pytest.approx(spread * np.linalg.norm(truth), rel=0.25)


def test_an_encoder_finds_styles_that_pixels_tell(stated, monkeypatch):
    torch.manual_seed(0)
    generator = Generator(CONFIG).eval()
    monkeypatch.setattr(companions, "_PICTURES", 1500)
    monkeypatch.setattr(companions, "_MEASURED", 200)
    weights, offset, explained = companions.fit_encoder(generator, stated)
    assert (weights.shape, offset.shape) == ((3 * encoder.SIDE**2, CONFIG.width), (CONFIG.width,))
    assert explained > 0.2


def test_training_images_are_found_again(peeps, stated, tmp_path):
    from services.common.store import Kind, Manifest

    clip = clip_directory(tmp_path / "clip")
    manifest = Manifest(name="tiny-clip", version="3", kind=Kind.TEXT_IMAGE_EMBEDDER, family="clip")
    (clip / "model.json").write_text(manifest.to_json())
    torch.manual_seed(0)
    out = tmp_path / "out"
    out.mkdir()
    config, metrics = companions.write(out, Generator(CONFIG).eval(), companions.Sources(peeps, peeps, clip))
    assert (config["layers"], config["dimensions"]) == (5, CONFIG.width)
    assert config["directions"] == list(directions.read(out, CONFIG.width).vectors)
    assert metrics["neighbours"] == len(peeps)
    # Every avatar is among those known, so it is its own nearest one.
    assert metrics["nearest_kept"] > 0.8
    assert metrics["nearest_among_four"] >= metrics["nearest_kept"]
    found = neighbours.read(out)
    assert found.feature_model == "tiny-clip:3"
    avatar = peeps.avatars[7]
    assert found.caption(7).split(", ") == [
        f"{name}: {word}" for (name, word), has in zip(VOCABULARY, stated[7], strict=True) if has
    ]
    assert f"skin: {avatar.attributes['skin']}" in found.caption(7)


def test_too_few_parts_lose_the_nearest():
    chance = np.random.default_rng(0)
    known, queries = (chance.standard_normal((count, 32)).astype(np.float32) for count in (400, 100))
    known, queries = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (known, queries))
    few, many = (companions.kept(neighbours.reduce(known, parts), known, queries) for parts in (4, 32))
    assert few[0] < 0.7
    assert 0.95 < many[0] <= many[1]


def test_a_published_gan_has_them(peeps, tmp_path):
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    options = train_gan.Options(
        size=16, finest=8, most=16, steps=2, batch=8, half_life=50, look_every=1, device="cpu"
    )
    manifest = train_gan.train(few, few, tmp_path / "work", tmp_path / "store/tiny/1", options)
    names = {each.path for each in manifest.files}
    assert {directions.FILE, encoder.FILE} <= names
    assert neighbours.FILE not in names
    assert 0 < manifest.metrics["directions_explained"] < 1
    assert manifest.config["directions"][0] == "background:blue"
