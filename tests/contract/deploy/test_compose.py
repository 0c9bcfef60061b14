"""Compose: every process with settings that it reads, in both profiles, open to this machine alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
import yaml

from services.common.settings import from_environment
from services.common.tracing.settings import tracing_settings
from tests.contract.deploy.manifests import (
    PROCESSES,
    ROOT,
    all_variables,
    classes_of,
    default_ports,
    pods,
    rendered,
    server,
)

TEXT = (ROOT / "deploy/compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
OF_LIBRARIES = {
    *("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "AWS_REGION"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}
GIVEN = ("POSTGRES_PASSWORD", "S3_PASSWORD", "GRAFANA_PASSWORD")
"""What whoever starts it says."""


def usual(value):
    """What it is where whoever starts it says nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def processes_of_compose():
    """The process that each of our services in compose runs: the GPU's go by the same name."""
    return {
        name: name.removesuffix("-gpu")
        for name in COMPOSE["services"]
        if name.removesuffix("-gpu") in PROCESSES
    }


def test_compose_runs_every_process_once_in_each_profile():
    for profile in ("cpu", "gpu"):
        chosen = [
            process
            for name, process in processes_of_compose().items()
            if profile in COMPOSE["services"][name].get("profiles", [profile])
        ]
        assert sorted(chosen) == sorted(PROCESSES)
    assert {"postgres", "objects", "prometheus", "grafana"} <= set(COMPOSE["services"])


@pytest.mark.parametrize("name", sorted(processes_of_compose()))
def test_compose_sets_what_processes_read(name):
    process, service = processes_of_compose()[name], COMPOSE["services"][name]
    environ = {key: usual(value) for key, value in service["environment"].items()}
    assert set(environ) - OF_LIBRARIES <= all_variables()
    for cls, about in classes_of(process):
        from_environment(cls, environ, about)
    assert not tracing_settings(environ).address
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    variant = "-cuda" if name.endswith("-gpu") else ""
    assert service["image"] == f"pequod/{process}{variant}"
    assert ("deploy" in service) is bool(variant)


@pytest.mark.parametrize("name", sorted(processes_of_compose()))
def test_compose_mounts_what_processes_write(name):
    service = COMPOSE["services"][name]
    mounts = [volume.partition(":")[2] for volume in service["volumes"]]
    for variable, value in service["environment"].items():
        if value.startswith("/"):
            assert any(value.startswith(mount) for mount in mounts), variable
    assert {volume.partition(":")[0] for volume in service["volumes"]} <= set(COMPOSE["volumes"])


def test_compose_leads_the_gateway_to_every_service():
    environ = COMPOSE["services"]["gateway"]["environment"]
    for process in set(PROCESSES) - {"gateway"}:
        assert environ[f"PEQUOD_{process.upper()}_BACKENDS"] == f"{process}:{default_ports(process)['grpc']}"
    for name, process in processes_of_compose().items():
        if name.endswith("-gpu"):
            assert COMPOSE["services"][name]["networks"]["inside"]["aliases"] == [process]


def test_compose_opens_ports_to_this_machine_alone():
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    ours = COMPOSE["services"]["gateway"]["ports"]
    ports = default_ports("gateway")
    assert ours == [f"127.0.0.1:{ports[name]}:{ports[name]}" for name in ("grpc", "http")]


def test_compose_mounts_files_that_are_there():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (ROOT / "deploy" / volume.partition(":")[0]).exists(), volume


def test_images_of_compose_and_kubernetes_have_the_same_names():
    for process in PROCESSES:
        image = server(pods(rendered("cpu"))[process])["image"]
        assert image.partition("@")[0].endswith(f"/pequod/{process}")


def test_no_secret_stands_in_it():
    assert set(re.findall(r"\$\{(\w+):\?\}", TEXT)) == set(GIVEN)
    for value in re.findall(r"(?:PASSWORD|SECRET_ACCESS_KEY): (.*)", TEXT):
        assert re.fullmatch(r"\$\{\w+:\?\}", value), value


def test_compose_is_well_formed():
    version = ["docker", "compose", "version"]
    if shutil.which("docker") is None or subprocess.run(version, capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = ["docker", "compose", "--file", "deploy/compose.yaml", "--profile", "gpu", "config", "--quiet"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **dict.fromkeys(GIVEN, "word")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
