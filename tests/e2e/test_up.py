"""`pequod up`: starts, says so, ends cleanly, restarts what dies."""

import os
import signal
import subprocess
import time

import psutil

from pequod.sampler.v1 import GenerateRequest, Stopping
from services.common.catalogue import SERVICES
from tests.e2e.conftest import PEQUOD, PORTS, QUIET, Load, environment, started
from tests.ports import lasting_ports

REQUEST = GenerateRequest(model="moby-ngram", prompt="THE ", stopping=Stopping(max_tokens=32))


def until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    with started(tmp_path) as platform:
        children = psutil.Process(platform.process.pid).children(recursive=True)
        assert len(children) >= 1 + len(SERVICES)
        until(lambda: "Pequod is ready" in (tmp_path / "up.txt").read_text())
        assert platform.stop(signal.SIGINT) == 0
        assert psutil.wait_procs(children, timeout=5)[1] == []
    assert "no process is left running" in (tmp_path / "up.txt").read_text()


def test_kill_9_of_the_supervisor_leaves_no_process_behind(tmp_path):
    with started(tmp_path, **QUIET) as platform:
        children = psutil.Process(platform.process.pid).children(recursive=True)
        platform.process.kill()
        platform.process.wait(10)
        assert psutil.wait_procs(children, timeout=40)[1] == []


def test_a_bad_setting_stops_the_start_with_a_sentence(tmp_path):
    variables = {**environment(lasting_ports(PORTS)), **QUIET, "PEQUOD_GATEWAY_PORT": "70000"}
    done = subprocess.run(
        [PEQUOD, "up"], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "PEQUOD_GATEWAY_PORT='70000' is not usable" in done.stderr


def test_a_public_address_is_refused_unless_insisted_on(tmp_path):
    done = subprocess.run(
        [PEQUOD, "up", "--host", "0.0.0.0"],
        env={**environment(lasting_ports(PORTS)), **QUIET},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "PEQUOD_INSECURE=1" in done.stderr


def test_kill_9_of_a_service_under_load_recovers_without_a_restart_of_anything_else(tmp_path):
    with started(tmp_path, **QUIET) as platform, Load(platform.grpc, REQUEST) as load:
        load.wait_for("OK", 20)
        gateway = platform.child("gateway").pid
        victim = platform.child("services.sampler")
        killed_at = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        load.wait_for("UNAVAILABLE", 1, since=killed_at)
        load.wait_for("OK", 50, since=killed_at)
        assert platform.child("gateway").pid == gateway, "only the victim was restarted"
        assert platform.child("services.sampler").pid != victim.pid
        recovered_at = next(at for at, outcome in reversed(load.outcomes) if outcome != "OK")
        load.wait_for("OK", 50, since=recovered_at)
    seen = {outcome for _, outcome in load.outcomes}
    assert seen == {"OK", "UNAVAILABLE"}, "nobody hangs and nobody sees another error"
    assert "sampler ended with signal SIGKILL" in (tmp_path / "up.txt").read_text()
