"""The shipped GAN, as a fresh machine has it: the commands of the README."""

from __future__ import annotations

import re

import grpc
import numpy as np
import pytest
from PIL import Image

from pequod.gan import v1
from services.common.store.settings import StoreSettings
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.e2e.gan_parts import pixels, settings_of

SIZE = 32
ASKED = {"style": "pixel-art", "background": "yellow", "glasses": "sunglasses", "skin": "dark"}


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield v1.GanServiceStub(channel)


def face(platform, *arguments):
    """The command's output, which must have succeeded."""
    done = platform.run("face", *arguments, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def drawing(platform):
    """A drawing that was not learnt from, as a file."""
    Image.fromarray(Peeps(HELD_OUT_FOLDER).images[3]).save(platform.folder / "drawing.png")
    return "drawing.png"


def test_a_face_with_its_settings(platform):
    face(platform, "-o", "shipped.png", "--seed", "7")
    assert pixels(platform.folder / "shipped.png").shape == (SIZE, SIZE, 3)
    assert settings_of(platform.folder / "shipped.png")["model"] == "peeps-gan:1"


def test_a_walk_enlarged(platform):
    face(platform, "--walk", "12", "--upscale", "--seed", "7", "-o", "shipped.webp")
    with Image.open(platform.folder / "shipped.webp") as picture:
        assert (picture.n_frames, picture.size) == (12, (4 * SIZE, 4 * SIZE))


def test_faces_have_what_is_asked_for(stub):
    """By a classifier that learnt from drawings alone."""
    torch = pytest.importorskip("torch")
    from services.finetune.recipes.judge.judging import Judge

    judge = Judge(StoreSettings().shipped / "peeps-judge/1", torch.device("cpu"))
    options = v1.SynthesisOptions(attributes=ASKED)
    reply = stub.Sample(v1.SampleRequest(seeds=range(16), options=options))
    rows = torch.stack([torch.from_numpy(pixels(each.image.data).copy()) for each in reply.images])
    said = judge.says(rows.permute(0, 3, 1, 2).float() / 127.5 - 1)
    places = list(judge.words)
    hits = [[judge.words[name][row[places.index(name)]] == ASKED[name] for name in ASKED] for row in said]
    assert np.mean(hits) >= 0.8, dict(zip(ASKED, np.mean(hits, axis=0), strict=True))


def test_seeds_make_different_faces(stub):
    reply = stub.Sample(v1.SampleRequest(seeds=range(32)))
    made = np.stack([pixels(each.image.data) for each in reply.images]).astype(float)
    distances = [np.abs(one - other).mean() for one in made[:8] for other in made[8:]]
    assert min(distances) > 5


def test_a_drawing_is_found_again_and_scored(platform, drawing):
    face(platform, "--project", drawing, "--save-code", "code.json", "-o", "found.png")
    wanted = np.asarray(Image.open(platform.folder / drawing).resize((SIZE, SIZE), Image.Resampling.BOX))
    error = np.square((pixels(platform.folder / "found.png") - wanted.astype(float)) / 255).mean()
    assert -10 * np.log10(error) > 14
    face(platform, "--code", "code.json", "--edit", "background:blue=3", "-o", "blue.png")
    assert not np.array_equal(pixels(platform.folder / "found.png"), pixels(platform.folder / "blue.png"))
    done = face(platform, "--score", drawing)
    assert re.search(r"drawing\.png +-?\d+\.\d\d +\d+ % +\d+ %", done.stdout)


def test_the_nearest_drawings(platform, drawing):
    done = face(platform, "--nearest-to", drawing)
    assert re.search(r"nearest of \d{5} training images, by peeps-clip:2", done.stdout)
