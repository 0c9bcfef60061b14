"""Jobs through the real doors: the command line from a folder to a served model, JSON, kills on the way."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import signal
import time

import psutil
import pytest
from PIL import Image

from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.e2e.conftest import started
from tests.unit.finetune.job_parts import TINY_LM, book

QUIET = {f"PEQUOD_{service}_PRELOAD": "" for service in ("SAMPLER", "TOKENIZER", "DIFFUSION")}
LM = [
    *("--recipe", "pretrain_lm"),
    *(part for name, value in TINY_LM.items() for part in ("--set", f"{name}={value}")),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A platform that trains."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "books").mkdir()
    for number in range(2):
        (folder / f"books/{number}.txt").write_bytes(book(number))
    with started(folder, **QUIET) as platform:
        yield platform


def job_of(shop, job_id: str) -> dict:
    """The job; {} while nobody is there to ask."""
    status, reply = shop.post("pequod.finetune.v1.FineTuneService/GetJob", {"jobId": job_id})
    return reply["job"] if status == 200 else {}


def test_a_folder_becomes_a_served_model(shop):
    arguments = ("--recipe", "ngram", "--set", "order=3", "--name", "mine", "--watch")
    done = shop.run("finetune", "books", *arguments, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mine:1\n"
    assert "published as mine:1@production" in done.stderr
    text = shop.run("text", "--model", "mine", "--order", "3", "--seed", "1", "THE ")
    assert text.returncode == 0, text.stderr
    assert text.stdout.strip()
    listed = shop.run("jobs", "ls").stdout
    assert "succeeded" in listed
    assert "mine:1" in listed


def test_bad_jobs_are_refused_with_the_field(shop):
    refused = shop.run("finetune", "books", "--recipe", "ngram", "--set", "order=99", "--json")
    assert refused.returncode == 1
    error = json.loads(refused.stderr.splitlines()[-1])["error"]
    assert error["violations"][0]["field"] == "spec.parameters.order"
    assert "1..32" in error["message"]
    refused = shop.run("finetune", "books", "--recipe", "ngram", "--executor", "kubernetes")
    assert refused.returncode == 1
    assert "PEQUOD_FINETUNE_KUBERNETES_IMAGE" in refused.stderr
    assert shop.run("finetune", "books", "--executor", "abacus").returncode == 2


def test_jobs_are_made_and_followed_as_json_over_http(shop):
    uploaded = json.loads(shop.run("datasets", "upload", "books", "--json").stdout)
    spec = {"recipe": "ngram", "datasetId": uploaded["dataset"]["datasetId"], "parameters": {"order": 2}}
    status, made = shop.post("pequod.finetune.v1.FineTuneService/CreateJob", {"spec": spec})
    assert status == 200, made
    job_id = made["job"]["jobId"]
    watched = shop.run("jobs", "watch", job_id, "--json", timeout=100)
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [each["number"] for each in lines[:-1]] == [f"{n}" for n in range(1, len(lines))]
    assert lines[-1]["state"] == "JOB_STATE_SUCCEEDED"
    report = shop.run("jobs", "report", job_id, "-o", "report.html")
    assert report.returncode == 0, report.stderr
    assert "<svg" in (shop.folder / "report.html").read_text()


@pytest.mark.timeout(300)
def test_a_paused_job_is_resumed_and_promoted_by_hand(shop):
    made = shop.run("finetune", "books", *LM, "--steps", "800", "--manual", "--json")
    job_id = json.loads(made.stdout)["job"]["jobId"]
    deadline = time.monotonic() + 60
    while job_of(shop, job_id).get("step", "0") == "0":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert shop.run("jobs", "pause", job_id).returncode == 0
    while job_of(shop, job_id)["state"] != "JOB_STATE_PAUSED":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shown = shop.run("jobs", "show", job_id).stdout
    assert "forecast" in shown, "its own first steps say what it takes"
    assert re.search(r"a step +\d+\.\d{3} s", shown), shown
    assert shop.run("jobs", "resume", job_id).returncode == 0
    watched = shop.run("jobs", "watch", job_id, timeout=200)
    assert watched.returncode == 0, watched.stderr
    promoted = shop.run("jobs", "promote", job_id, "--name", "chosen", "--alias", "trial")
    assert promoted.stdout == "chosen:1\n"
    assert "promoted" in shop.run("jobs", "checkpoints", job_id).stdout
    assert shop.run("jobs", "rm", job_id).returncode == 0
    assert shop.run("jobs", "show", job_id).returncode == 1


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_service_that_is_killed_takes_its_jobs_up_again(shop):
    enough, name = 4, "hardy"
    made = shop.run("finetune", "books", *LM, "--steps", "4000", "--name", name, "--json")
    job_id = json.loads(made.stdout)["job"]["jobId"]
    dice, kills = random.Random(3), 0
    deadline = time.monotonic() + 110
    while kills < enough:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if job_of(shop, job_id).get("state") == "JOB_STATE_RUNNING":
            time.sleep(dice.uniform(0.2, 1.0))
            module = dice.choice(["services.finetune", "services.finetune.worker"])
            processes = psutil.Process(shop.process.pid).children(recursive=True)
            victim = next((each for each in processes if module in each.cmdline()), None)
            if victim is not None:
                os.kill(victim.pid, signal.SIGKILL)
                kills += 1
        shop.wait_ready()
    watched = shop.run("jobs", "watch", job_id, "--json", timeout=200)
    *told, job = [json.loads(line) for line in watched.stdout.splitlines()]
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    assert [each["number"] for each in told] == [f"{n}" for n in range(1, len(told) + 1)]
    assert sum("published" in each for each in told) == 1
    assert job["model"] == f"{name}:1"
    folder = shop.folder / "var/models" / name
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["1"]


@pytest.mark.timeout(300)
def test_a_person_is_learnt_and_drawn(shop):
    """From pictures to pictures: the promoted adapter serves at once, by its name."""
    folder = shop.folder / "person"
    folder.mkdir()
    for number, pixels in enumerate(Peeps(HELD_OUT_FOLDER).images[:5]):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    quick = ("--steps", "4", "--checkpoint-every", "2", "--set", "prior_images=4", "--seed", "1")
    wishes = ("--as", "sks person", "--name", "sks", "--watch", "--previews", "seen")
    done = shop.run("finetune", "person", *wishes, *quick, timeout=110)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "sks:1\n"
    assert "checkpoint at step 4" in done.stderr
    assert list((shop.folder / "seen").glob("*.png"))
    assert shop.run("models", "load", "peeps-diffusion").returncode == 0
    made = ("image", "sks person with a hat", "--steps", "4", "--seed", "1")
    plain = shop.run(*made, "-o", "plain.png")
    tuned = shop.run(*made, "--adapter", "sks", "-o", "tuned.png")
    assert (plain.returncode, tuned.returncode) == (0, 0), tuned.stderr
    assert (shop.folder / "plain.png").read_bytes() != (shop.folder / "tuned.png").read_bytes()
    for size in ("auto", "32x32"):  # through OpenAI's door it is a model of its own
        body = {"model": "sks", "prompt": made[1], "steps": 4, "seed": 1, "size": size}
        status, reply = shop.post("v1/images/generations", body)
        assert status == 200, reply
        assert base64.b64decode(reply["data"][0]["b64_json"]) == (shop.folder / "tuned.png").read_bytes()
