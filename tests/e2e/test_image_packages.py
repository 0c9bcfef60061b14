"""Serving with exactly the packages of an image, from shipped exports, writing nowhere but to its volumes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import grpc
import pytest

from deploy.packages import packages
from tests.clients.environment import holding, pip, programs
from tests.contract.deploy.manifests import ROOT
from tests.e2e.asking import ASK
from tests.ports import lasting_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LOCK = ROOT / "deploy/requirements.lock"
OF_THE_SYSTEM = re.compile(
    r"(linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|pthread|util|resolv|gcc_s|stdc\+\+|z|crypt))[.-]\S*so|/lib\S*/ld-linux"
)
"""Libraries that the base image has."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The platform as images install it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return next(folder.glob("pequod-*.whl"))


@pytest.fixture(scope="module")
def python_of(wheel):
    """Python with the packages of an image, by the process that it is for."""
    made = {}
    for name, process in (("image-gateway", "gateway"), ("image-serving", "tokenizer")):
        made[name] = holding(name, packages(process, "cpu"), LOCK) / "python"
        install = [*pip(made[name]), "install", "--quiet", "--no-deps", "--force-reinstall", wheel]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    return lambda process: made["image-gateway" if process == "gateway" else "image-serving"]


def lacks(python, package):
    """Whether a package cannot be imported."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is not None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


@pytest.fixture
def running(request, tmp_path, python_of):
    """One process with the settings of an image: ``request.param`` is its name."""
    process = request.param
    port, http_port, side_port = lasting_ports(3)
    side = "GATEWAY_ADMIN" if process == "gateway" else f"{process.upper()}_SIDE"
    for name in ("root", "store", "cache", "tmp"):
        (tmp_path / name).mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "PEQUOD_MODELS": str(ROOT / "models"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path / "tmp"),
        f"PEQUOD_{process.upper()}_PORT": str(port),
        f"PEQUOD_{side}_PORT": str(side_port),
        "PEQUOD_GATEWAY_HTTP_PORT": str(http_port),
        "PEQUOD_STORE": str(tmp_path / "store"),
        "PEQUOD_CACHE": str(tmp_path / "cache"),
        "PEQUOD_KEYS_FILE": "",
        "PEQUOD_AUDIT_FILE": "",
        "PEQUOD_GATEWAY_DATABASE_URL": "",
    }
    module = process if process == "gateway" else f"services.{process}"
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [python_of(process), "-m", module], env=environ, cwd=tmp_path / "root", stderr=log
        )
    try:
        yield SimpleNamespace(
            name=process, folder=tmp_path, child=child, port=port, side=f"http://127.0.0.1:{side_port}"
        )
    finally:
        child.terminate()
        child.wait(60)


def wait(running, path):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{running.side}{path}", timeout=5) as reply:
                return reply.status
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            log = (running.folder / "log").read_text()[-3000:]
            assert running.child.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.2)


def test_images_that_serve_have_the_same_packages():
    """So one environment stands for all four below."""
    first, *others = (packages(process, "cpu") for process in ASK)
    assert all(other == first for other in others)


@pytest.mark.parametrize("running", sorted(ASK), indirect=True)
def test_a_service_serves_its_shipped_models_without_torch(running, python_of):
    assert wait(running, "/readyz") == 200
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        assert ASK[running.name](channel)
    assert "not preloaded" not in (running.folder / "log").read_text()
    missing = subprocess.run(
        [python_of(running.name), "-c", "import torch"], capture_output=True, check=False
    )
    assert b"ModuleNotFoundError" in missing.stderr
    assert not list((running.folder / "root").iterdir()), "its root is read-only in an image"


@pytest.mark.parametrize("running", ["gateway"], indirect=True)
def test_the_gateway_lives_without_onnxruntime(running, python_of):
    assert wait(running, "/livez") == 200
    missing = subprocess.run(
        [python_of("gateway"), "-c", "import onnxruntime"], capture_output=True, check=False
    )
    assert b"ModuleNotFoundError" in missing.stderr
    assert not list((running.folder / "root").iterdir())


@pytest.mark.parametrize("process", ["gateway", "tokenizer"])
def test_packages_need_no_library_that_the_base_lacks(process, python_of):
    folder = python_of(process).parents[1]
    libraries = [path for path in (folder / "lib").rglob("*.so*") if path.is_file()]
    assert libraries
    shown = subprocess.run(["ldd", *libraries], capture_output=True, text=True, check=False).stdout
    lines = [line.strip() for line in shown.splitlines() if line.startswith("\t")]
    own = (str(folder), "statically linked")
    foreign = {line.split()[0] for line in lines if not any(each in line for each in own)}
    foreign = {name for name in foreign if not OF_THE_SYSTEM.match(name)}
    assert not foreign


def test_parts_and_licences_are_listed(tmp_path, python_of):
    """By the programs and options of the Dockerfile."""
    python, tools = python_of("tokenizer"), programs("image-tools")
    parts, licences = tmp_path / "sbom.cdx.json", tmp_path / "licences.md"
    lister = [tools / "cyclonedx-py", "environment", "--output-reproducible", "--output-file", parts, python]
    subprocess.run(lister, check=True, capture_output=True, timeout=300)
    options = ["--format", "markdown", "--with-urls", "--output-file", licences]
    namer = [tools / "pip-licenses", "--python", python, *options]
    subprocess.run(namer, check=True, capture_output=True, timeout=300)
    listed = json.loads(parts.read_text())
    assert listed["bomFormat"] == "CycloneDX"
    names = {each["name"].lower().replace("_", "-") for each in listed["components"]}
    wanted = {re.split(r"[\[<>=]", each)[0].lower() for each in packages("tokenizer", "cpu")}
    assert wanted <= names
    assert all(each["version"] for each in listed["components"])
    assert [each["name"] for each in listed["components"] if "purl" not in each] == ["pequod"], (
        "not of a registry"
    )
    rows = licences.read_text().lower().replace("_", "-")
    assert all(f"| {name} " in rows for name in wanted)
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert "cyclonedx-py environment --output-reproducible --output-file" in text
    assert f"pip-licenses --python /venv/bin/python {' '.join(options[:3])}" in text
