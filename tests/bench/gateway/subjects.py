"""The processes under measurement, and those behind them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from tests.bench.children import HOME, Unavailable
from tests.bench.gateway.keys import KeyFolder
from tests.bench.gateway.load import Subject

_START_SECONDS = 60


@contextlib.contextmanager
def started(command: list[str], cores: set[int], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that lives as long as the block."""
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if command[1] == "gateway" else None,
        text=True,
    )
    os.sched_setaffinity(process.pid, cores)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextlib.contextmanager
def bare(name: str, cores: set[int], *role: str) -> Iterator[Subject]:
    """A server of this file in a process of its own."""
    with started(["-m", "tests.bench.gateway.echo", *role], cores) as process:
        assert process.stdout is not None
        yield Subject(name, int(process.stdout.readline()), psutil.Process(process.pid))


@contextlib.contextmanager
def gateway_before(
    port: int, cores: set[int], keys: KeyFolder | None = None, name: str = "through"
) -> Iterator[Subject]:
    """The real gateway, as ``pequod up`` starts it, in front of a sampler; with ``keys`` it asks for them."""
    environment = {
        "PEQUOD_KEYS_FILE": "",
        "PEQUOD_GATEWAY_DATABASE_URL": "",
        **(keys.environment if keys else {}),
        "PEQUOD_HOST": "127.0.0.1",
        "PEQUOD_GATEWAY_PORT": "0",
        "PEQUOD_GATEWAY_HTTP_PORT": "0",
        "PEQUOD_GATEWAY_ADMIN_PORT": "0",
        "PEQUOD_SAMPLER_BACKENDS": f"127.0.0.1:{port}",
    }
    with started(["-m", "gateway"], cores, **environment) as process:
        ports: dict[str, int] = {}
        up = False
        assert process.stderr is not None
        while not (ports and up):
            line = json.loads(process.stderr.readline())
            ports = line.get("ports", ports)
            up = up or line["message"] == "backend is up"
        shown = (("authorization", f"Bearer {keys.texts[0]}"),) if keys else ()
        yield Subject(name, ports["grpc"], psutil.Process(process.pid), shown)


@contextlib.contextmanager
def peer(command: list[str], name: str, port: int, cores: set[int], path: str = "") -> Iterator[Subject]:
    """Somebody else's server; it is there once its port answers. Raises Unavailable where it never does."""
    with (HOME / f"{name.lower()}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    os.sched_setaffinity(process.pid, cores)
    try:
        _wait_for(process, port)
        yield Subject(name, port, psutil.Process(process.pid), http=path)
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        _, alive = psutil.wait_procs(family, 20)  # some leave their workers behind
        for each in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            time.sleep(1)  # some listen before they serve
            return
        time.sleep(0.2)
    raise Unavailable("it does not answer")
