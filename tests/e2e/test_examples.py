"""The examples of clients, each run as its README line says, against the real platform."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

PROTOS = Path(__file__).parents[2] / "protos"
EXAMPLES = PROTOS / "examples"


def run(*command: object, cwd: Path, **variables: str) -> str:
    """What a program prints; fails with what it complains of."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def story(platform):
    """The text that every example asks for."""
    sampling = {"sampling": {"seed": 7}, "stopping": {"maxTokens": 40}}
    status, reply = platform.post(
        "pequod.sampler.v1.SamplerService/Generate", {"prompt": "The old captain", **sampling}
    )
    assert status == 200
    return reply["completions"][0]["text"]


def test_python(platform, story, tmp_path):
    printed = run(sys.executable, EXAMPLES / "python/story.py", platform.grpc, cwd=tmp_path)
    assert printed.startswith(f"{story}\n")
    assert "a whale and a ship, cosine 0." in printed
    with Image.open(tmp_path / "person.png") as picture:
        assert picture.size == (128, 128)


@pytest.mark.timeout(300)
def test_javascript(platform, story, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("there is no Node.js here")
    folder = tmp_path / "javascript"
    shutil.copytree(EXAMPLES / "javascript", folder, ignore=shutil.ignore_patterns("node_modules"))
    installed = subprocess.run(
        ["npm", "ci", "--silent", "--ignore-scripts"], cwd=folder, capture_output=True, text=True, check=False
    )
    if installed.returncode:
        pytest.skip(f"npm cannot install here: {installed.stderr.strip()[-300:]}")
    printed = run("node", "story.mjs", platform.grpc, cwd=folder, PROTOS=str(PROTOS))
    assert printed.startswith(f"{story}\n")
    assert printed.splitlines()[-1].startswith('"U" ')  # what follows a Q


def test_curl(platform, story, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    whole, *lines = run(EXAMPLES / "curl/story.sh", platform.http, cwd=tmp_path).splitlines()
    assert json.loads(whole)["completions"][0]["text"].startswith("THE AND ARTELTHE")
    rows = [json.loads(each) for each in lines if each.startswith("{")]
    assert "".join(each.get("text", "") for each in rows) == story
    events = [each.removeprefix("data: ") for each in lines if each.startswith("data: ")]
    assert events.pop() == "[DONE]"
    assert "".join(json.loads(each)["choices"][0]["text"] for each in events) == story


def test_reflection(platform, tmp_path):
    program = (sys.executable, EXAMPLES / "reflection/call.py", platform.grpc)
    assert "pequod.gan.v1.GanService/Interpolate" in run(*program, cwd=tmp_path).splitlines()
    method = "pequod.sampler.v1.SamplerService"
    body = {"model": "moby-ngram", "prompt": "THE Q", "limit": 1, "ngram": {"order": 3}}
    table = json.loads(run(*program, f"{method}/NextTokens", json.dumps(body), cwd=tmp_path))
    assert table["tokens"][0]["text"] == "U"
    body = {"model": "moby-ngram", "prompt": "THE ", "stopping": {"maxTokens": 9}}
    pieces = run(*program, f"{method}/GenerateStream", json.dumps(body), cwd=tmp_path).splitlines()
    assert sum(len(json.loads(each).get("ids", [])) for each in pieces) == 9
    command = [*map(str, program), f"{method}/NextTokens", '{"model": "none", "prompt": "a"}']
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (refused.returncode, refused.stderr[:11]) == (1, "NOT_FOUND: ")
