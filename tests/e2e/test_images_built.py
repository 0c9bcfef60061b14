"""Images as a container engine builds and runs them: not root, volumes alone to write to, an orderly end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass

import grpc
import pytest

from pequod.finetune import v1 as finetune
from tests.contract.deploy.manifests import PROCESSES, ROOT
from tests.e2e.asking import ASK
from tests.ports import lasting_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
BASE = os.environ.get("PEQUOD_TEST_BASE_IMAGE", "docker.io/library/python:3.11-slim-bookworm")
READY_SECONDS = 180


def ask_finetune(channel):
    reply = finetune.FineTuneServiceStub(channel).ListJobs(finetune.ListJobsRequest())
    return reply.HasField("usage") and not reply.jobs


ASKED = {**ASK, "finetune": ask_finetune}


@dataclass(frozen=True)
class Engine:
    """Docker, or what takes its options."""

    name: str

    def tried(self, *arguments):
        """What came of a command."""
        return subprocess.run([self.name, *arguments], capture_output=True, text=True, check=False)

    def __call__(self, *arguments):
        """What a command said that must succeed."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def engine():
    for each in (Engine("docker"), Engine("podman")):
        if shutil.which(each.name) and each.tried("info").returncode == 0:
            return each
    pytest.skip("no container engine answers")


@pytest.fixture(scope="module")
def digest(engine):
    """Of the base image; it is fetched where it is not there."""
    if engine.tried("image", "inspect", BASE).returncode:
        fetched = engine.tried("pull", BASE)
        if fetched.returncode:
            pytest.skip(f"{BASE} cannot be had: {fetched.stderr.strip()[-300:]}")
    return engine("image", "inspect", "--format", "{{index .RepoDigests 0}}", BASE).partition("@")[2]


@pytest.fixture(scope="module", params=PROCESSES)
def image(request, engine, digest):
    """The process it is for, and its name; as ``make images`` builds it."""
    process, registry = request.param, "localhost/pequod-test"
    given = (f"ENGINE={engine.name}", f"BASE_IMAGE={BASE}", f"BASE_DIGEST={digest}", f"SERVICES={process}")
    index = os.environ.get("PEQUOD_TEST_TORCH_INDEX", "")
    built = subprocess.run(
        ["make", "images", *given, f"REGISTRY={registry}", f"TORCH_INDEX={index}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return process, f"{registry}/{process}"


@contextlib.contextmanager
def container(engine, process, name):
    """It runs as in a hardened pod; its ports, what it is called. It is gone afterwards."""
    port, http, side = lasting_ports(3)
    ports = {f"{process.upper()}_PORT": port}
    if process == "gateway":
        ports |= {"GATEWAY_HTTP_PORT": http, "GATEWAY_ADMIN_PORT": side}
    else:
        ports |= {f"{process.upper()}_SIDE_PORT": side}
    variables = [f"--env=PEQUOD_{each}={number}" for each, number in ports.items()]
    hardened = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
    volumes = ("--volume=/data", "--volume=/cache", "--env=PEQUOD_CACHE=/cache")
    known = engine("run", "--detach", "--network=host", *hardened, *volumes, *variables, name)
    try:
        yield port, f"http://127.0.0.1:{side}", known
    finally:
        engine("rm", "--force", "--volumes", known)


def wait(engine, known, url):
    """Until it answers 200, or has ended."""
    ends = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.status
        except OSError:
            status = engine("inspect", "--format", "{{.State.Status}}", known)
            logs = engine.tried("logs", known)
            assert status == "running", logs.stderr[-3000:] + logs.stdout[-3000:]
            assert time.monotonic() < ends, logs.stderr[-3000:]
            time.sleep(0.3)


def test_an_image_runs_as_it_comes(engine, image):
    """Without a setting but ports and cache, and without keys, so on loopback."""
    process, name = image
    with container(engine, process, name) as (port, side, known):
        assert wait(engine, known, f"{side}/{'livez' if process == 'gateway' else 'readyz'}") == 200
        if process in ASKED:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                assert ASKED[process](channel)
        assert engine("exec", known, "id", "-u") == "10001"
        assert "Read-only file system" in engine.tried("exec", known, "touch", "/app/x").stderr
        engine("stop", "--time", "45", known)
        assert engine("inspect", "--format", "{{.State.ExitCode}}", known) == "0"


def test_an_image_says_what_is_in_it(engine, image):
    process, name = image
    parts = json.loads(engine("run", "--rm", name, "cat", "/usr/share/doc/pequod/sbom.cdx.json"))
    names = {each["name"].lower() for each in parts["components"]}
    assert {"pequod", "grpcio"} <= names
    assert ("torch" in names) is (process == "finetune")
    assert ("onnxruntime" in names) is (process != "gateway")
    licences = engine("run", "--rm", name, "cat", "/usr/share/doc/pequod/licences.md")
    assert "| grpcio " in licences
    kept = engine("run", "--rm", name, "ls", "/usr/share/doc/pequod").split()
    assert {"LICENSE", "NOTICE"} <= set(kept)
