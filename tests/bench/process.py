"""A service of ours in a process of its own, as ``pequod up`` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

import psutil

from tests.bench.children import HOME, Unavailable
from tests.ports import lasting_ports

_START_SECONDS = 180


class ServiceProcess:
    """Serves within the block, with an empty store of its own besides what ``environment`` names."""

    def __init__(
        self, service: str, module: Sequence[str], environment: Mapping[str, str], log: str = ""
    ) -> None:
        """``module``: what Python runs, with its arguments; ``log``: a name for its log's file.

        ``target`` and ``side`` are where it serves gRPC and HTTP (health, metrics).
        """
        port, side_port = lasting_ports(2)
        self.target = f"127.0.0.1:{port}"
        self.side = f"http://127.0.0.1:{side_port}"
        self._store = tempfile.TemporaryDirectory()
        prefix = f"PEQUOD_{service.upper()}"
        ports = {f"{prefix}_PORT": str(port), f"{prefix}_SIDE_PORT": str(side_port)}
        self._environment = {"PEQUOD_STORE": self._store.name, **ports, **environment}
        self._module = module
        self._log = HOME / f"{log or f'{service}-service'}.log"

    def __enter__(self) -> ServiceProcess:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._module],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Unavailable(self._log.read_text(errors="replace")[-2000:])
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._store.cleanup()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """That it has used."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.side}/readyz", timeout=2) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False
