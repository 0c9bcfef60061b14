"""`pequod up`: starts, says so, ends cleanly, restarts what dies."""

import os
import signal
import subprocess
import threading
import time

import grpc
import psutil
import pytest
from pequod.sampler.v1 import GenerateRequest, SamplerServiceStub, Stopping

from tests.e2e.conftest import PEQUOD, environment, free_ports, started

REQUEST = GenerateRequest(model="moby-ngram", prompt="THE ", stopping=Stopping(max_tokens=32))


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    with started(tmp_path) as platform:
        children = psutil.Process(platform.process.pid).children(recursive=True)
        assert len(children) >= 2
        assert platform.stop(signal.SIGINT) == 0
        assert psutil.wait_procs(children, timeout=5)[1] == []
    text = (tmp_path / "up.txt").read_text()
    assert "Pequod is ready" in text
    assert "no process is left running" in text


def test_kill_9_of_the_supervisor_leaves_no_process_behind(tmp_path):
    with started(tmp_path) as platform:
        children = psutil.Process(platform.process.pid).children(recursive=True)
        platform.process.kill()
        platform.process.wait(10)
        assert psutil.wait_procs(children, timeout=40)[1] == []


def test_a_bad_setting_stops_the_start_with_a_sentence(tmp_path):
    variables = {**environment(free_ports(8)), "PEQUOD_GATEWAY_PORT": "70000"}
    done = subprocess.run(
        [PEQUOD, "up"], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "PEQUOD_GATEWAY_PORT='70000' is not usable" in done.stderr


def test_a_public_address_is_refused_unless_insisted_on(tmp_path):
    done = subprocess.run(
        [PEQUOD, "up", "--host", "0.0.0.0"],
        env=environment(free_ports(8)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "PEQUOD_INSECURE=1" in done.stderr


class Load:
    """Callers in threads that count what they get, until stopped."""

    def __init__(self, target: str, threads: int = 4):
        self.outcomes: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._target = target
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def _call(self):
        with grpc.insecure_channel(self._target) as channel:
            stub = SamplerServiceStub(channel)
            while not self._stop.is_set():
                try:
                    stub.Generate(REQUEST, timeout=10)
                    outcome = "OK"
                except grpc.RpcError as error:
                    outcome = error.code().name
                    time.sleep(0.02)
                self.outcomes.append((time.monotonic(), outcome))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, outcome: str, count: int, since: float = 0.0, timeout: float = 30):
        deadline = time.monotonic() + timeout
        while sum(o == outcome and at >= since for at, o in list(self.outcomes)) < count:
            if time.monotonic() > deadline:
                pytest.fail(f"{outcome} was not seen {count} times: {self.outcomes[-5:]}")
            time.sleep(0.02)


def test_kill_9_of_a_service_under_load_recovers_without_a_restart_of_anything_else(tmp_path):
    with started(tmp_path) as platform, Load(platform.grpc) as load:
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
