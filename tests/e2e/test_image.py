"""Images through every door, with the shipped models, as a fresh machine has them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import urllib.request

import grpc
import numpy as np
import pytest

from gateway.cli.image import SchedulerChoice
from pequod.diffusion import v1
from services.common.catalogue import entry
from services.common.store import MANIFEST_NAME
from services.common.store.settings import StoreSettings
from tests.e2e.diffusion_parts import (
    drawn,
    half_mask,
    picture,
    pixels,
    publish_adapter,
    settings_of,
    told,
)

PROMPT = "a smiling person with red hair and round glasses, blue background"
SHOWN = {
    "background": "blue",
    "hair_color": "red",
    "expression": "smiling",
    "glasses": "round glasses",
}
GENERATE = "pequod.diffusion.v1.DiffusionService/Generate"


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield v1.DiffusionServiceStub(channel)


def request(**fields):
    return v1.GenerateRequest(**{"prompt": PROMPT, "seed": 7, "steps": 8, **fields})


def metrics(platform) -> str:
    port = platform.environment["PEQUOD_DIFFUSION_SIDE_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return reply.read().decode()


def test_the_command_writes_a_picture_that_holds_its_settings(platform):
    done = platform.run("image", PROMPT, "-o", "out.png", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert re.search(r"painted .*20/20", done.stderr)
    assert re.search(r"out\.png +32 x 32 +7 +\d", done.stdout)
    data = (platform.folder / "out.png").read_bytes()
    assert pixels(data).shape == (32, 32, 3)
    model = json.loads((StoreSettings().shipped / "peeps-diffusion/1" / MANIFEST_NAME).read_text())
    expected = {
        "model": "peeps-diffusion:1",
        "prompt": PROMPT,
        "seed": "7",
        "steps": 20,
        "scheduler": model["config"]["defaults"]["scheduler"],
        "guidance_scale": model["config"]["defaults"]["guidance_scale"],
        "width": 32,
        "height": 32,
        "rng": "philox",
    }
    assert {name: settings_of(data)[name] for name in expected} == expected


def test_its_settings_make_it_again_through_every_door(platform, stub):
    by_grpc = told(stub.Generate(request())).data[0]
    done = platform.run("image", PROMPT, "-o", "again.png", "--seed", "7", "--steps", "8", "--json")
    assert done.returncode == 0, done.stderr
    assert [next(iter(json.loads(line))) for line in done.stdout.splitlines()][-2:] == ["image", "done"]
    assert (platform.folder / "again.png").read_bytes() == by_grpc
    assert told(stub.Generate(request(seed=8))).data[0] != by_grpc


def test_a_picture_is_the_same_to_the_byte_while_others_are_painted(stub):
    alone = told(stub.Generate(request(n=2))).data
    others = [
        stub.Generate(each)
        for each in (
            request(prompt="a sad person", seed=1, steps=60, scheduler=v1.SCHEDULER_EULER_ANCESTRAL),
            request(prompt="a serious person", seed=2, steps=60, guidance_scale=1, n=3),
            request(prompt="an angry person", seed=3, steps=60, scheduler=v1.SCHEDULER_HEUN),
        )
    ]
    for other in others:
        next(reply for reply in other if reply.HasField("step"))
    crowded = told(stub.Generate(request(n=2)))
    for other in others:
        other.cancel()
    assert crowded.data == alone
    assert [each.seed for each in crowded.images] == [7, 8]


def test_pictures_show_what_the_prompt_says(stub):
    """By a classifier that learnt from other pictures than the model made."""
    torch = pytest.importorskip("torch")
    from services.finetune.recipes.judge.judging import Judge

    judge = Judge(StoreSettings().shipped / "peeps-judge/1", torch.device("cpu"))
    made = told(stub.Generate(v1.GenerateRequest(prompt=PROMPT, seed=100, n=8))).data
    rows = torch.stack([torch.from_numpy(pixels(each).copy()).permute(2, 0, 1) for each in made])
    said = judge.says(rows.float() / 127.5 - 1)
    places = list(judge.words)
    hits = [
        judge.words[name][row[places.index(name)]] == word for row in said for name, word in SHOWN.items()
    ]
    assert np.mean(hits) >= 0.8, hits


def test_larger_pictures(platform, stub):
    small, large = (told(stub.Generate(request(upscale_factor=factor))).data[0] for factor in (1, 4))
    assert pixels(large).shape == (128, 128, 3)
    assert settings_of(large)["upscaler"] == "peeps-upscaler:1"
    (platform.folder / "small.png").write_bytes(small)
    done = platform.run("upscale", "small.png", "--factor", "4", "-o", "large.png")
    assert done.returncode == 0, done.stderr
    assert "128 x 128" in done.stdout
    np.testing.assert_array_equal(pixels((platform.folder / "large.png").read_bytes()), pixels(large))


def test_what_the_mask_does_not_cover_stays_to_the_byte(platform, stub):
    start = drawn(32, 32)
    fields = {"init_image": picture(start), "mask": picture(half_mask())}
    painted = pixels(told(stub.Generate(request(**fields))).data[0])
    np.testing.assert_array_equal(painted[:, 16:], pixels(start)[:, 16:])
    assert (painted[:, :16] != pixels(start)[:, :16]).any()
    for name, data in (("start.png", start), ("mask.png", half_mask())):
        (platform.folder / name).write_bytes(data)
    options = ("--init", "start.png", "--mask", "mask.png", "--seed", "7", "--steps", "8", "-o", "masked.png")
    done = platform.run("image", PROMPT, *options)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(pixels((platform.folder / "masked.png").read_bytes()), painted)


def test_a_little_strength_stays_near_the_picture(stub):
    start = drawn(48, 48)  # scaled to the model's size

    def far(strength: float):
        made = told(stub.Generate(request(init_image=picture(start), strength=strength)))
        return made, np.abs(pixels(made.data[0]).astype(int) - pixels(drawn(32, 32))).mean()

    (little, near), (much, away) = far(0.25), far(1.0)
    assert near < away
    assert len(little.steps) == 2
    assert len(much.steps) == 8


def test_previews_come_when_they_are_due_and_clear_up(stub):
    made = told(stub.Generate(request(preview_every=3)))
    shown = [each.step for each in made.steps if each.HasField("preview")]
    assert shown
    assert set(shown) >= {3, 6}
    assert shown != [each.step for each in made.steps]
    final = pixels(made.data[0]).astype(int)
    distances = [
        np.abs(pixels(each.preview.data) - final).mean() for each in made.steps if each.HasField("preview")
    ]
    assert distances[-1] < distances[0]
    assert [each.step for each in made.steps] == list(range(1, 9))


def test_the_best_of_several_come_best_first(stub):
    made = told(stub.Generate(request(n=2, best_of=4), timeout=100))
    scores = [each.score for each in made.images]
    assert scores == sorted(scores, reverse=True)
    assert {each.seed for each in made.images} < {7, 8, 9, 10}
    again = told(stub.Generate(request(seed=made.images[0].seed)))
    np.testing.assert_array_equal(pixels(again.data[0]), pixels(made.data[0]))


def test_an_adapter_is_each_requests_own(platform, stub):
    publish_adapter(platform.folder, "bold")
    plain = pixels(told(stub.Generate(request())).data[0])
    options = ("--adapter", "bold:1=0.5", "--seed", "7", "--steps", "8", "-o", "bold.png")
    done = platform.run("image", PROMPT, *options)
    assert done.returncode == 0, done.stderr
    data = (platform.folder / "bold.png").read_bytes()
    assert (pixels(data) != plain).any()
    assert settings_of(data)["adapters"] == [{"adapter": "bold:1", "scale": 0.5}]
    np.testing.assert_array_equal(pixels(told(stub.Generate(request())).data[0]), plain)


def test_the_noise_ladder(platform, stub):
    start = told(stub.Generate(request(prompt=""))).data[0]
    ladder = stub.NoiseLadder(v1.NoiseLadderRequest(image=picture(start), rungs=5, seed=1))
    assert [each.level for each in ladder.rungs] == [0, 250, 500, 750, 1000]
    assert ladder.levels == 1001
    np.testing.assert_array_equal(pixels(ladder.rungs[0].noisy.data), pixels(start))
    assert not ladder.rungs[0].HasField("step_back")
    signals = [each.signal for each in ladder.rungs]
    assert signals == sorted(signals, reverse=True)
    clean = pixels(start).astype(int)
    for rung in ladder.rungs[1:3]:
        noisy, seen = (np.abs(pixels(each.data) - clean).mean() for each in (rung.noisy, rung.predicted))
        assert seen < noisy
    (platform.folder / "rung.png").write_bytes(start)
    done = platform.run("ladder", "rung.png", "--rungs", "5", "--seed", "1")
    assert done.returncode == 0, done.stderr
    width, height = pixels((platform.folder / "rung-ladder.png").read_bytes()).shape[1::-1]
    assert width > height > 96


def test_json_over_http_streams_the_same_events(platform, stub):
    body = json.dumps({"prompt": PROMPT, "seed": "7", "steps": 2}).encode()
    called = urllib.request.Request(
        f"{platform.http}/{GENERATE}", data=body, headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(called, timeout=30) as reply:
        events = [json.loads(line) for line in reply.read().splitlines()]
    assert [next(iter(each)) for each in events] == ["queued", "step", "step", "image", "done"]


def test_several_files_are_numbered_or_have_their_seeds(platform):
    done = platform.run("image", PROMPT, "--n", "2", "--seed", "3", "--steps", "2", "-o", "two.webp")
    assert done.returncode == 0, done.stderr
    assert pixels((platform.folder / "two-2.webp").read_bytes()).shape == (32, 32, 3)
    done = platform.run("image", PROMPT, "--n", "2", "--seed", "3", "--steps", "2")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in platform.folder.glob("image-*.png")} == {"image-3.png", "image-4.png"}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("image", "a", "-o", "no/where.png"), "there is no folder no"),
        (("image", "a", "-o", "name.gif"), ".png"),
        (("image", "a", "-o", "."), ".png"),
        (("image", "a", "--init", "missing.png"), "No such file"),
        (("image", "a", "--init", "var"), "Is a directory"),
        (("image", "a", "--adapter", "bold=much"), "NAME=SCALE"),
        (("upscale", "missing.png"), "No such file"),
    ],
)
def test_files_that_cannot_be_are_told_before_anything_is_painted(platform, arguments, part):
    done = platform.run(*arguments)
    assert done.returncode == 2
    assert part in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_the_command_line_prints_the_services_error_and_a_warning(platform):
    done = platform.run("image", "a", "--eta", "0.5", "--scheduler", "euler")
    assert done.returncode == 1
    assert "eta: is for scheduler ddim" in done.stderr
    done = platform.run("image", "red " * 100, "--steps", "2", "-o", "cut.png")
    assert done.returncode == 0, done.stderr
    assert "does not read: 'red red" in done.stderr


def test_ctrl_c_leaves_at_once_and_the_service_stops_painting(platform):
    process = subprocess.Popen(
        [platform.pequod, "image", PROMPT, "--steps", "1000", "--n", "16", "--json"],
        env=platform.environment,
        cwd=platform.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "queued" in process.stdout.readline()
    assert "step" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "Traceback" not in errors
    lost = re.search(
        r'pequod_images_cancelled_total\{model="peeps-diffusion"\} (\S+)', _until_cancelled(platform)
    )
    assert float(lost.group(1)) >= 1


def _until_cancelled(platform) -> str:
    """The metrics once nothing is waiting or running."""
    for _ in range(100):
        shown = metrics(platform)
        if 'images_cancelled_total{model="peeps-diffusion"}' in shown:
            return shown
        threading.Event().wait(0.1)
    return shown


def test_the_service_tells_of_its_images(platform, stub):
    told(stub.Generate(request(steps=2)))
    shown = metrics(platform)
    for name in (
        f'pequod_requests_total{{code="OK",method="/{GENERATE}",service="diffusion"}}',
        'pequod_images_generated_total{model="peeps-diffusion"}',
        'pequod_guided_rows_total{model="peeps-diffusion"}',
        'pequod_compute_seconds_count{model="peeps-diffusion"}',
        'pequod_batch_rows_count{service="diffusion"}',
        'pequod_queue_seconds_count{service="diffusion"}',
        'pequod_active_rows{service="diffusion"}',
        'pequod_model_loaded{model="peeps-diffusion",version="1"} 1.0',
        'pequod_model_loaded{model="peeps-upscaler",version="1"} 1.0',
    ):
        assert name in shown
    assert entry("diffusion").side_port == 9063


def test_the_commands_choices_are_the_fields_values():
    values = {name.removeprefix("SCHEDULER_").lower() for name, _ in v1.Scheduler.items()}
    assert {each.value for each in SchedulerChoice} == values - {"unspecified"}
