"""What the probes of the manifests ask is answered by the real processes, while they serve and drain."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from tests.contract.deploy.manifests import OVERLAYS, PROCESSES, pods, rendered, server
from tests.e2e.conftest import PORTS, environment
from tests.ports import lasting_ports


def side_port(platform, process):
    if process == "gateway":
        return platform.environment["PEQUOD_GATEWAY_ADMIN_PORT"]
    return platform.environment[f"PEQUOD_{process.upper()}_SIDE_PORT"]


def answer(platform, process, path):
    """The HTTP status of a path of a process's side port; None where nobody answers."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{side_port(platform, process)}{path}", timeout=5
        ) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def paths(process):
    """Every path that a probe of any overlay asks this process for."""
    return sorted(
        {
            server(pods(rendered(overlay))[process])[probe]["httpGet"]["path"]
            for overlay in OVERLAYS
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_a_serving_process_answers_every_probe(platform, process):
    for path in (*paths(process), "/metrics"):
        assert answer(platform, process, path) == 200, path
    assert answer(platform, process, "/readyzz") == 404


@pytest.fixture
def alone(tmp_path):
    """The GAN service without models and a gateway that knows nothing else, both slow to end."""
    ports = lasting_ports(PORTS)
    variables = {**environment(ports), "PEQUOD_GAN_PRELOAD": "", "PEQUOD_DRAIN_SECONDS": "300"}
    running = SimpleNamespace(environment=variables, processes={})
    try:
        for process, module in (("gan", "services.gan"), ("gateway", "gateway")):
            with (tmp_path / f"{process}.log").open("wb") as log:
                running.processes[process] = subprocess.Popen(
                    [sys.executable, "-m", module], env=variables, cwd=tmp_path, stderr=log
                )
        yield running
    finally:
        for each in running.processes.values():
            each.kill()
            each.wait()


def until(alone, process, path, status):
    deadline = time.monotonic() + 60
    while answer(alone, process, path) != status:
        assert time.monotonic() < deadline, f"{process} {path} is not {status}"
        time.sleep(0.05)


def test_a_draining_process_is_alive_but_not_ready(alone):
    """Kubelet must not kill a process for ending slowly; one service is enough for a gateway to be ready."""
    for process in ("gan", "gateway"):
        until(alone, process, "/readyz", 200)
    for process in ("gateway", "gan"):
        alone.processes[process].send_signal(signal.SIGTERM)
        until(alone, process, "/readyz", 503)
        assert answer(alone, process, "/livez") == 200
        assert alone.processes[process].poll() is None
