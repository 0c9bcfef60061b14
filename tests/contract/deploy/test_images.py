"""The Dockerfile without a container engine: what it copies, installs and runs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from deploy import packages
from tests.clients.environment import programs
from tests.contract.deploy.manifests import (
    PROCESSES,
    ROOT,
    default_ports,
    pods,
    rendered,
)

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
IGNORED = (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines()
STAGE = re.compile(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", re.MULTILINE | re.DOTALL)
STAGES = {name: (base, body) for base, name, body in STAGE.findall(DOCKERFILE)}
LOCK = (ROOT / "deploy/requirements.lock").read_text()


def lineage(stage):
    """A stage and those it stands on, text after text."""
    text = ""
    while stage in STAGES:
        stage, body = STAGES[stage]
        text = body + text
    return text


def test_a_linter_finds_nothing():
    linter = programs("hadolint") / "hadolint"
    done = subprocess.run(
        [linter, "--no-color", ROOT / "deploy/Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_source_that_is_copied_is_there_and_not_ignored():
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    let_in = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source.rstrip("/") in let_in, f"{source} is ignored"


def test_what_is_let_in_is_copied():
    """The context holds no more than the build needs: a change elsewhere makes no image anew."""
    assert IGNORED[1] == "*"
    for line in IGNORED:
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists()
            assert re.search(rf"^COPY .*\b{re.escape(line[1:])}", DOCKERFILE, re.MULTILINE), line


def test_every_stage_that_is_copied_from_is_there():
    assert set(re.findall(r"--from=(\S+)", DOCKERFILE)) <= set(STAGES)


def test_the_base_is_a_digest_that_the_build_is_given():
    assert STAGES["base"][0] == "${BASE_IMAGE}@${BASE_DIGEST}"
    assert re.search(r"^ARG BASE_DIGEST$", DOCKERFILE, re.MULTILINE), (
        "no default: a build says what it stands on"
    )
    assert {base for base, _ in STAGES.values()} <= {
        "${BASE_IMAGE}@${BASE_DIGEST}",
        "run-${SERVICE}",
        *STAGES,
    }


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_has_an_image_that_runs_it(process):
    text = lineage(f"run-{process}")
    module = process if process == "gateway" else f"services.{process}"
    assert f'CMD ["python", "-m", "{module}"]' in text
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in text
    assert "USER 10001:10001" in text
    (exposed,) = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert set(map(int, exposed.split())) == set(default_ports(process).values())
    assert ("COPY --from=prepared /app/models" in text) is (process != "gateway")
    user = pods(rendered("cpu"))[process]["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}:" in text


def test_images_carry_their_parts_and_licences():
    assert "cyclonedx-py environment" in STAGES["packages"][1]
    assert "pip-licenses" in STAGES["packages"][1]
    assert "COPY --from=packages /about /usr/share/doc/pequod" in STAGES["runtime"][1]
    assert "COPY LICENSE NOTICE /usr/share/doc/pequod/" in STAGES["runtime"][1]


def test_compilers_and_torch_for_exports_stay_behind():
    assert "pip" not in STAGES["runtime"][1]
    assert "/venv" not in STAGES["prepared"][1]


@pytest.mark.parametrize("service", sorted(packages.EXTRAS))
def test_serving_images_have_no_torch(service):
    found = packages.packages(service, "cpu")
    assert ("torch" in found) is (service == "finetune")
    assert ("onnxruntime" in found) is (service != "gateway")
    if service != "gateway":
        assert "onnxruntime-gpu" in packages.packages(service, "cuda")
        assert "onnxruntime" not in packages.packages(service, "cuda")


def test_every_process_has_its_packages_and_every_package_is_locked():
    assert set(packages.EXTRAS) == set(PROCESSES)
    locked = {line.partition("==")[0].lower().replace("_", "-") for line in LOCK.splitlines() if "==" in line}
    extras = tomllib.loads(packages.PYPROJECT.read_text())["project"]["optional-dependencies"]
    for service, variants in packages.EXTRAS.items():
        for variant in variants:
            assert set(packages.EXTRAS[service][variant]) <= set(extras)
            names = {re.split(r"[\[<>=]", each)[0].lower() for each in packages.packages(service, variant)}
            assert names <= locked, service


def test_a_wrong_image_is_refused_with_the_known_ones():
    script = ROOT / "deploy/packages.py"
    done = subprocess.run(
        [sys.executable, script, "gateway", "cuda"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert "no image 'gateway' for 'cuda'" in done.stderr
    assert "sampler (cpu, cuda)" in done.stderr
