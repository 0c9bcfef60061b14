"""The real platform for end-to-end tests: `pequod up` on free ports, in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest

from pequod.sampler.v1 import GenerateRequest, GenerateResponse, SamplerServiceStub
from services.common.catalogue import SERVICES
from services.common.parent import end_with_parent
from tests.ports import lasting_ports

PEQUOD = Path(sys.executable).parent / "pequod"
PORTS = 3 + 2 * len(SERVICES)
"""Ports of a platform: three of the gateway, two of each service."""
QUIET = {f"PEQUOD_{service}_PRELOAD": "" for service in ("SAMPLER", "TOKENIZER", "DIFFUSION", "GAN")}
"""For a start in less time: models are loaded when they are asked for."""


@dataclass
class Platform:
    """A running `pequod up`."""

    grpc: str
    http: str
    admin: str
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen
    pequod: Path = PEQUOD

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """Run the command line against this platform."""
        return subprocess.run(
            [self.pequod, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def post(self, method: str, body: object) -> tuple[int, dict]:
        """POST protobuf JSON; returns the HTTP status and the reply."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.http}/{method}", data=data, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def ready(self) -> bool:
        """Whether the gateway says that all services are ready."""
        try:
            with urllib.request.urlopen(f"{self.http}/readyz", timeout=2) as reply:
                return reply.status == 200
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until ready; fails with the logs when it never is."""
        deadline = time.monotonic() + timeout
        while not self.ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"the platform did not become ready\n{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """The ends of all log files."""
        files = sorted((self.folder / "var/log").glob("*.log"))
        return "\n".join(f"--- {f.name}\n{f.read_text(errors='replace')[-4000:]}" for f in files)

    def child(self, module: str) -> psutil.Process:
        """The process that runs ``module``."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline():
                    return process
        raise LookupError(module)

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


def environment(ports: list[int]) -> dict[str, str]:
    """Our environment with every port replaced; jobs run as others do, for tests wait for them."""
    names = ["PEQUOD_GATEWAY_PORT", "PEQUOD_GATEWAY_HTTP_PORT", "PEQUOD_GATEWAY_ADMIN_PORT"]
    for service in SERVICES:
        names += [f"PEQUOD_{service.name.upper()}_PORT", f"PEQUOD_{service.name.upper()}_SIDE_PORT"]
    values = {name: str(port) for name, port in zip(names, ports, strict=True)}
    for service in SERVICES:
        key = f"PEQUOD_{service.name.upper()}"
        values[f"{key}_BACKENDS"] = f"127.0.0.1:{values[f'{key}_PORT']}"
    values |= {"PEQUOD_FINETUNE_JOB_THREADS": "1", "PEQUOD_FINETUNE_NICE": "0"}
    values["PEQUOD_TARGET"] = f"127.0.0.1:{values['PEQUOD_GATEWAY_PORT']}"
    # pytest puts the running test's name into the environment: too long for a process, for some of them.
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} | values


@contextlib.contextmanager
def started(folder: Path, **extra: str):
    """`pequod up` in ``folder``; nothing is left running afterwards."""
    ports = lasting_ports(PORTS)
    variables = {**environment(ports), **extra}
    with (folder / "up.txt").open("wb") as output:
        process = subprocess.Popen(
            [PEQUOD, "up"],
            env=variables,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - nothing is left of a run that is cut off
        )
    platform = Platform(
        grpc=f"127.0.0.1:{ports[0]}",
        http=f"http://127.0.0.1:{ports[1]}",
        admin=f"http://127.0.0.1:{ports[2]}",
        folder=folder,
        environment=variables,
        process=process,
    )
    try:
        platform.wait_ready()
        yield platform
    finally:
        if process.poll() is None:
            platform.stop()


class Load:
    """Callers in threads that keep what they get, until stopped."""

    def __init__(self, target: str, request: GenerateRequest, threads: int = 4):
        self.outcomes: list[tuple[float, str]] = []
        self.replies: list[GenerateResponse] = []
        self._target = target
        self._request = request
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(threads)]

    def _call(self):
        with grpc.insecure_channel(self._target) as channel:
            stub = SamplerServiceStub(channel)
            while not self._stop.is_set():
                try:
                    self.replies.append(stub.Generate(self._request, timeout=10))
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

    def last(self) -> float:
        """When the newest outcome came."""
        return self.outcomes[-1][0]

    def wait_for(self, outcome: str, count: int, since: float = 0.0, timeout: float = 30):
        """Wait until ``outcome`` was seen ``count`` times from ``since`` on."""
        deadline = time.monotonic() + timeout
        while sum(o == outcome and at >= since for at, o in list(self.outcomes)) < count:
            if time.monotonic() > deadline:
                pytest.fail(f"{outcome} was not seen {count} times: {self.outcomes[-5:]}")
            time.sleep(0.02)


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """One platform for every test that only calls it."""
    with started(tmp_path_factory.mktemp("platform")) as running:
        yield running
