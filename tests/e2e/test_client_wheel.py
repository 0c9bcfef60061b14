"""The client wheel in an empty environment, with the newest protobuf there is, against the platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import google.protobuf
import pytest

from tests.clients.environment import pip

PROTOS = Path(__file__).parents[2] / "protos"

# Runs inside the empty environment; what it prints is what the test checks.
PROGRAM = """
import asyncio, json, sys
import google.protobuf
import pequod_client
from pequod.sampler.v1 import GenerateRequest, NgramOptions, Sampling, Stopping
from pequod_client import AsyncClient, Client, PequodError

target = sys.argv[1]
settings = {"model": "moby-ngram", "order": 3, "seed": 7, "max_tokens": 64}

async def over_asyncio():
    async with AsyncClient(target) as client:
        return [piece async for piece in client.stream_text("THE ", **settings)]

with Client(target) as client:
    request = GenerateRequest(
        model="moby-ngram",
        prompt="THE ",
        sampling=Sampling(seed=7),
        stopping=Stopping(max_tokens=64),
        ngram=NgramOptions(order=3),
    )
    reply = client.sampler.Generate(request)
    with client.stream_text("THE ", **settings) as pieces:
        streamed = list(pieces)
    vectors = client.embed(["a whale", "a ship"], model="minilm")
    bulk = dict(client.embed_stream(iter(["a whale", "a ship"]), model="minilm"))
    try:
        client.text("THE ", model="moby-ngrm")
    except PequodError as error:
        refused = {"code": error.code.name, "reason": error.reason, "id": error.request_id}

json.dump({
    "module": pequod_client.__file__,
    "protobuf": google.protobuf.__version__,
    "generated": reply.completions[0].text,
    "tokens": reply.usage.output_tokens,
    "text": Client(target).text("THE ", **settings),
    "streamed": "".join(streamed),
    "asyncio": "".join(asyncio.run(over_asyncio())),
    "dimensions": [len(vector) for vector in vectors],
    "bulk": sorted(bulk),
    "refused": refused,
}, sys.stdout)
"""


def environment():
    """Ours without what binds pip or Python to this checkout: its lock, its path, its own venv."""
    bound = {"PIP_CONSTRAINT", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in bound}


def version(text):
    return tuple(int(part) for part in text.split("."))


def run(*command, cwd):
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, as ``make client`` builds it but with this environment's hatchling."""
    folder = tmp_path_factory.mktemp("wheel")
    built = run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, PROTOS, cwd=folder
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("pequod_client-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an empty environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    quick = ("--disable-pip-version-check", "--retries", "1", "--timeout", "15")
    reached = run(*pip(python), "download", "--quiet", "--no-deps", *quick, "protobuf", cwd=folder)
    if reached.returncode:
        pytest.skip(f"no package index within reach: {reached.stderr.strip().splitlines()[-1]}")
    installed = run(*pip(python), "install", "--quiet", *quick, wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return python


def test_what_it_needs_fits_together(python, tmp_path):
    checked = run(*pip(python), "check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_calls_the_gateway(python, platform, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    called = run(python, "-I", tmp_path / "program.py", platform.grpc, cwd=tmp_path)
    assert called.returncode == 0, called.stderr
    told = json.loads(called.stdout)
    assert Path(told["module"]).is_relative_to(python.parents[1])
    assert version(told["protobuf"]) >= version(google.protobuf.__version__)
    assert len(told["generated"]) == 64
    assert told["tokens"] == 64
    assert {told[way] for way in ("text", "streamed", "asyncio")} == {told["generated"]}
    assert told["dimensions"] == [384, 384]
    assert told["bulk"] == [0, 1]
    assert told["refused"]["code"] == "NOT_FOUND"
    assert told["refused"]["reason"] == "MODEL_NOT_FOUND"
    assert told["refused"]["id"]
