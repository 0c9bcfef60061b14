"""Two Envoys, and one address before them, as a Service of Kubernetes has it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clients.envoy import Door, Envoy
from tests.distributed.link import Link
from tests.distributed.process import START_SECONDS, NotReady, Process
from tests.unit.common.certificates import Authority

DRAIN_MOST = 60.0
"""Seconds after which kubelet would not wait for the end of the preStop hook any more."""


class Front:
    """A new connection goes to the next Envoy that is ready and does not end; an old one stays."""

    def __init__(self, folder: Path, doors: Sequence[Door], ports: Sequence[tuple[int, int, int]]) -> None:
        """``ports`` of each Envoy: public, side and admin. Skips the test where there is no Envoy."""
        authority = Authority()
        self.authorities: bytes = authority.certificate
        """What callers trust."""
        self.link = Link([])
        self.envoys: list[Envoy] = []
        self.processes: list[Process] = []
        for number, own in enumerate(ports, 1):
            files = folder / f"envoy-{number}"
            files.mkdir()
            envoy = Envoy(files, doors, own, authority)
            self.envoys.append(envoy)
            self.processes.append(_Pod(f"envoy-{number}", envoy, folder, self.link))

    @property
    def target(self) -> str:
        """Where callers call, by TLS."""
        return f"localhost:{self.link.port}"

    def sees(self) -> list[int]:
        """To how many gateways each Envoy sends calls; 0 for one that does not run."""
        return [_sees(envoy) for envoy in self.envoys]


def _sees(envoy: Envoy) -> int:
    try:
        return min(envoy.healthy().values())
    except OSError:
        return 0


class _Pod(Process):
    """An Envoy that begins and ends as the deployed one does."""

    def __init__(self, name: str, envoy: Envoy, folder: Path, link: Link) -> None:
        super().__init__(name, [*envoy.command, *envoy.arguments], os.environ, folder, envoy.ready)
        self._drain, self._link, self._address = envoy.drain, link, ("127.0.0.1", envoy.public)

    def wait_ready(self, seconds: float = START_SECONDS) -> float:
        """It has its place behind the front once it is ready."""
        waited = super().wait_ready(seconds)
        self._leave()
        self._link.targets.append(self._address)
        return waited

    def stop(self) -> int:
        """Out of the Service, its preStop hook, then SIGTERM."""
        self._running()
        self._leave()
        try:
            subprocess.run(self._drain, check=True, capture_output=True, text=True, timeout=DRAIN_MOST)
        except subprocess.SubprocessError as error:
            raise NotReady(f"{self.name} does not drain: {error} {error.stderr or ''}") from None
        return super().stop()

    def kill(self) -> None:
        """As a node's agent notices at once that a container is gone."""
        super().kill()
        self._leave()

    def _leave(self) -> None:
        with contextlib.suppress(ValueError):
            self._link.targets.remove(self._address)
