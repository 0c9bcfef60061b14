"""One process of the cluster, and all that may befall it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_SECONDS = 120.0
"""From the start of a process until it must be ready."""
END_SECONDS = 60.0
"""From SIGTERM until it must have ended."""


class NotReady(Exception):
    """A process did not become what it was to be; the message ends with its log."""


class Process:
    """A program by a name. ``ready`` says whether it takes work now."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        ready: Callable[[], bool],
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.ready = ready
        self._command, self._environment, self._folder = command, environment, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now. Raises LookupError where none does."""
        if self._process is None or self._process.poll() is not None:
            raise LookupError(f"{self.name} does not run")
        return self._process.pid

    def start(self, **variables: str) -> None:
        """Start it, with ``variables`` for this once on top of its own; returns before it is ready.

        Raises NotReady where it runs already.
        """
        if self._process is not None and self._process.poll() is None:
            raise NotReady(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**self._environment, **variables},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, seconds: float = START_SECONDS) -> float:
        """Wait until it is; returns the seconds it took. Raises NotReady."""
        began = time.monotonic()
        while not self.ready():
            if self._process is None or self._process.poll() is not None:
                raise NotReady(f"{self.name} has ended\n{self.tail()}")
            if time.monotonic() - began > seconds:
                raise NotReady(f"{self.name} is not ready after {seconds:g} s\n{self.tail()}")
            time.sleep(0.05)
        return time.monotonic() - began

    def stop(self) -> int:
        """End it as an operator does; returns its exit code. Raises NotReady where it does not end."""
        process = self._running()
        process.terminate()
        try:
            return process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotReady(f"{self.name} did not end within {END_SECONDS:g} s\n{self.tail()}") from None

    def kill(self) -> None:
        """kill -9: it has no last word. Its children live on, as they would."""
        process = self._running()
        process.kill()
        process.wait()

    def freeze(self) -> None:
        """It stands still; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood still."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, **variables: str) -> float:
        """Stop, start, wait; returns the seconds from its end until it was ready. Raises NotReady."""
        if code := self.stop():
            raise NotReady(f"{self.name} ended with exit code {code}\n{self.tail()}")
        self.start(**variables)
        return self.wait_ready()

    def hurry(self) -> None:
        """Let it begin to end, whatever it was doing; ``end`` waits for it."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGCONT)
            self._process.terminate()

    def end(self) -> None:
        """Nothing of it is left, its children included."""
        if self._process is None:
            return
        self.hurry()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self, characters: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else "it wrote no log"

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise LookupError(f"{self.name} does not run")
        return self._process


def fetch(url: str) -> tuple[int, str]:
    """Status and text of the answer to a GET. Raises OSError where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200."""
    try:
        return fetch(url)[0] == 200
    except OSError:
        return False
