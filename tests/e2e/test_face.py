"""Faces through every door, by the command line, JSON and gRPC, with tiny models."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import time
import urllib.request

import grpc
import numpy as np
import pytest
from PIL import Image

from pequod.gan import v1
from tests.e2e.gan_parts import GAN, PLAIN, SIZE, pixels, publish, settings_of

SAMPLE = "pequod.gan.v1.GanService/Sample"

pytestmark = pytest.mark.timeout(900)  # the models are exported first


@pytest.fixture(scope="module", autouse=True)
def _models(platform, tmp_path_factory):
    publish(platform, tmp_path_factory)


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield v1.GanServiceStub(channel)


def face(platform, *arguments, model=GAN):
    """The command's output, which must have succeeded."""
    done = platform.run("face", "--model", model, *arguments, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


def metrics(platform) -> str:
    port = platform.environment["PEQUOD_GAN_SIDE_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return reply.read().decode()


def test_a_face_is_the_same_to_the_byte_through_every_door(platform, stub):
    done = face(platform, "-o", "face.png", "--seed", "7")
    assert re.search(r"face\.png +16 x 16 +7 +\d", done.stdout)
    assert "--upscale" in done.stderr
    data = (platform.folder / "face.png").read_bytes()
    assert settings_of(platform.folder / "face.png")["model"] == f"{GAN}:1"
    by_grpc = stub.Sample(v1.SampleRequest(model=GAN, seeds=[7])).images[0].image.data
    status, reply = platform.post(SAMPLE, {"model": GAN, "seeds": ["7"]})
    assert status == 200, reply
    assert data == by_grpc == base64.b64decode(reply["images"][0]["image"]["data"])


def test_without_a_name_the_file_is_called_after_its_drawn_seed(platform):
    done = face(platform, "--json")
    reply = json.loads(done.stdout)
    seed = reply["images"][0]["seed"]
    assert (platform.folder / f"face-{seed}.png").is_file()
    assert "data" not in reply["images"][0]["image"]


def test_faces_in_a_grid(platform):
    face(platform, "-o", "grid.webp", "--seed", "3", "--n", "5", "--factor", "2")
    assert pixels(platform.folder / "grid.webp").shape == (4 * SIZE, 6 * SIZE, 3)
    face(platform, "-o", "third.webp", "--seed", "5", "--factor", "2")
    third = pixels(platform.folder / "third.webp")
    assert np.array_equal(pixels(platform.folder / "grid.webp")[: 2 * SIZE, 4 * SIZE :], third)


def test_attributes_psi_and_noise(platform):
    options = ("--with", "glasses=round", "--with", "style=pixel-art", "--psi", "0.7", "--cutoff", "2")
    face(platform, "-o", "a.png", "--seed", "1", *options, "--noise", "0.5", "--noise-seed", "4")
    noted = settings_of(platform.folder / "a.png")
    assert noted["attributes"] == {"glasses": "round", "style": "pixel-art"}
    assert (noted["truncation_psi"], noted["truncation_cutoff"]) == (0.7, 2)
    assert (noted["noise_strength"], noted["noise_seed"]) == (0.5, "4")


@pytest.mark.parametrize("name", ["walk.webp", "walk.gif"])
def test_a_walk_is_a_moving_picture(platform, name):
    done = face(platform, "--walk", "12", "--upscale", "--seed", "1", "-o", name, "--space", "z")
    assert re.search(r"walking .*12/12", done.stderr)
    with Image.open(platform.folder / name) as picture:
        assert (picture.n_frames, picture.size) == (12, (4 * SIZE, 4 * SIZE))


def test_a_projection_goes_on_as_a_code(platform):
    face(platform, "-o", "me.png", "--seed", "11")
    done = face(platform, "--project", "me.png", "--steps", "30", "--save-code", "me.json", "-o", "found.png")
    assert re.search(r"looking .*30/30", done.stderr)
    assert re.search(r"found\.png +\d+\.\d +-?\d\.\d{3}", done.stdout)
    face(platform, "--code", "me.json", "-o", "again.png")
    assert np.array_equal(pixels(platform.folder / "found.png"), pixels(platform.folder / "again.png"))
    face(platform, "--code", "me.json", "--edit", "pixel-art=3", "-o", "edited.png")
    assert not np.array_equal(pixels(platform.folder / "found.png"), pixels(platform.folder / "edited.png"))
    face(platform, "--code", "me.json", "--walk", "6", "-o", "from-me.webp")
    assert np.array_equal(pixels(platform.folder / "from-me.webp"), pixels(platform.folder / "found.png"))


def test_scores_of_files(platform):
    face(platform, "-o", "one.png", "--seed", "1")
    face(platform, "-o", "two.png", "--seed", "2")
    done = face(platform, "--score", "one.png", "--score", "two.png")
    rows = re.findall(r"(one|two)\.png +-?\d+\.\d\d +\d+ % +\d+ %", done.stdout)
    assert rows == ["one", "two"]


def test_a_mix_and_its_layers(platform, stub):
    face(platform, "--seed", "1", "--mix", "7=0-1,4", "--mix", "8=2", "-o", "mix.png")
    origins = [v1.Origin(seed=each) for each in (1, 7, 8)]
    donors = [
        v1.StyleDonor(origin=origins[1], layers=[0, 1, 4]),
        v1.StyleDonor(origin=origins[2], layers=[2]),
    ]
    reply = stub.Mix(v1.MixRequest(model=GAN, base=origins[0], donors=donors))
    assert np.array_equal(pixels(platform.folder / "mix.png"), pixels(reply.image.image.data))


def test_the_nearest_training_images(platform):
    done = face(platform, "--nearest", "--seed", "1")
    assert "nearest of 60 training images, by tiny-clip:1" in done.stdout
    assert len(re.findall(r"^ *\d+ +-?0\.\d{3} +.*style: open-peeps", done.stdout, re.MULTILINE)) == 4
    face(platform, "-o", "one.png", "--seed", "1")
    same = face(platform, "--nearest-to", "one.png")
    assert same.stdout == done.stdout


def test_the_simple_family_serves_beside(platform):
    face(platform, "-o", "plain.png", "--seed", "1", model=PLAIN)
    assert pixels(platform.folder / "plain.png").shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("-o", "no/where.png"), "there is no folder no"),
        (("-o", "name.gif"), ".png"),
        (("--walk", "9", "-o", "name.png"), ".webp, .gif"),
        (("--walk", "9", "-o", "no/where.gif"), "there is no folder no"),
        (("--walk", "9", "--nearest"), "do not go together"),
        (("--project", "missing.png"), "No such file"),
        (("--with", "glasses"), "NAME=VALUE"),
        (("--mix", "7"), "SEED=LAYERS"),
        (("--mix", "7=a-b"), "SEED=LAYERS"),
        (("--mix", "x=1"), "SEED=LAYERS"),
        (("--edit", "smile"), "NAME=AMOUNT"),
        (("--edit", "smile=much"), "NAME=AMOUNT"),
        (("--code", "up.txt"), "holds no latent code"),
    ],
)
def test_a_wrong_command_line_says_what_is_needed(platform, arguments, part):
    done = platform.run("face", "--model", GAN, *arguments)
    assert done.returncode == 2
    assert part in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())


def test_a_refusal_names_the_field(platform):
    done = platform.run("face", "--model", GAN, "--with", "hat=cap")
    assert done.returncode == 1
    assert "there is no attribute 'hat'; known: glasses, style" in " ".join(done.stderr.split())


def test_models_are_listed_and_exported_as_three_files(platform):
    done = platform.run("models", "ls", "--json")
    assert GAN in done.stdout
    for target in ("torchscript", "onnx"):
        done = platform.run("models", "export", GAN, "--format", target, timeout=600)
        assert done.returncode == 0, done.stderr
    files = {path.name for path in (platform.folder / "var/cache/exports").rglob(f"{GAN}-*.*")}
    parts = ("mapping", "synthesis", "discriminator")
    assert files == {f"{GAN}-{part}.{kind}" for part in parts for kind in ("onnx", "pt")}


def test_ctrl_c_ends_a_projection_in_the_service(platform):
    face(platform, "-o", "long.png", "--seed", "1")
    process = subprocess.Popen(
        [platform.pequod, "face", "--model", GAN, "--project", "long.png", "--steps", "1000"],
        env=platform.environment,
        cwd=platform.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_running(platform, 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    _wait_running(platform, 0)


def test_the_service_tells_of_its_work(platform, stub):
    stub.Sample(v1.SampleRequest(model=GAN, n=1))
    shown = metrics(platform)
    for name in (
        f'pequod_images_generated_total{{model="{GAN}"}}',
        f'pequod_compute_seconds_count{{model="{GAN}"}}',
        f'pequod_model_loaded{{model="{GAN}",version="1"}} 1.0',
        'pequod_batch_rows_count{service="gan"}',
        'pequod_requests_total{code="OK",method="/pequod.gan.v1.GanService/Sample",service="gan"}',
    ):
        assert name in shown, name


def test_a_gan_is_of_its_kind(platform):
    status, reply = platform.post("pequod.model.v1.ModelService/GetModel", {"model": GAN})
    assert (status, reply["model"]["kind"]) == (200, "MODEL_KIND_GAN")


def _wait_running(platform, count: int) -> None:
    deadline = time.monotonic() + 30
    while f'pequod_projections_running{{service="gan"}} {count}.0' not in metrics(platform):
        assert time.monotonic() < deadline
        time.sleep(0.05)
