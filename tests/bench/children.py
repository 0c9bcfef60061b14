"""Peers of a benchmark as child processes, each in an environment of its own, all warm at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tests.bench.report import Report

HOME = Path("var/bench")
SCRIPTS = Path(__file__).parent / "peers"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")

_END_SECONDS = 30
_COMPILER = re.compile(r"CMake Error|fatal error:|: error:")


@dataclass(frozen=True)
class Peer:
    """A way to do a benchmark's work. ``packages``: what its environment needs; none: it runs in ours."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    torch: bool = True
    """Whether the environment needs torch as well."""
    from_source: tuple[str, ...] = ()
    """Packages that are built here, for this machine's processor."""
    environment: str = ""
    """Name of the environment, where several peers share one; else the peer's own name."""
    python: str = ""
    """What makes its environment, where our own Python will not do."""

    @property
    def folder(self) -> Path:
        """Where its environment lives."""
        return HOME / (self.environment or self.name)


class Unavailable(RuntimeError):
    """A peer that does not run here; the text says why."""


class Worker(Protocol):
    """Whoever works in rounds."""

    @property
    def name(self) -> str:
        """What its row is called."""

    def keep(self, name: str, groups: Sequence[Sequence[Any]]) -> None:
        """Remember a workload, to be run by its name."""

    def run(self, name: str) -> tuple[float, float]:
        """Wall and CPU seconds of a workload that it keeps."""


class Child:
    """A peer's process. It works only while it is asked."""

    def __init__(self, peer: Peer, python: Path, folder: Path, threads: int) -> None:
        self.name = peer.name
        self._log = HOME / f"{re.sub('[^a-z0-9]+', '-', peer.name.lower())}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, SCRIPTS / peer.script, folder, str(threads), *peer.arguments],
                env=_environment(threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.versions = str(self._answer()["versions"])

    def keep(self, name: str, groups: Sequence[Sequence[Any]]) -> None:
        """Hand it a workload: groups of items, each of which is handed over at once."""
        self._ask({"keep": name, "groups": [list(group) for group in groups]})

    def run(self, name: str) -> tuple[float, float]:
        """Wall and CPU seconds of a workload."""
        answer = self._ask({"run": name})
        return answer["wall"], answer["cpu"]

    def make(self, groups: Sequence[Sequence[Any]]) -> list[np.ndarray]:
        """What it makes of every item."""
        file = self._log.with_suffix(".npz")
        self._ask({"make": [list(group) for group in groups], "file": str(file)})
        with np.load(file) as made:
            results = [made[f"arr_{place}"] for place in range(len(made.files))]
        file.unlink()
        return results

    def close(self) -> None:
        """End it, if need be by force: a library's threads may keep a process alive."""
        try:
            self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise Unavailable(_reason(self._log.read_text(errors="replace")))
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Nursery:
    """Starts children. ``torch``: what to install as torch, from the package index ``torch_index``."""

    torch: str
    torch_index: str
    report: Report

    @contextlib.contextmanager
    def children(self, peers: Sequence[Peer], folder: Path, threads: int) -> Iterator[list[Child]]:
        """Those peers that run here, warm; of the others the reason is printed in place of figures."""
        children: list[Child] = []
        try:
            for peer in peers:
                try:
                    children.append(Child(peer, self.interpreter(peer), folder, threads))
                except Unavailable as error:
                    self.report.say(f"\n**{peer.name} does not run here:** {error}")
            yield children
        finally:
            for child in children:
                child.close()

    def interpreter(self, peer: Peer) -> Path:
        """The peer's Python, its environment made at first use. Raises Unavailable with what pip says."""
        if not peer.packages:
            return Path(sys.executable)
        folder = peer.folder
        torch = [self.torch] if peer.torch else []
        made, wanted = folder / "made.json", json.dumps([*torch, *peer.packages])
        python = folder / "bin/python"
        if not made.exists() or made.read_text() != wanted:
            sys.stderr.write(f"making {folder} ...\n")
            shutil.rmtree(folder, ignore_errors=True)
            _call([peer.python or sys.executable, "-m", "venv", str(folder)])
            pip = [str(python), "-m", "pip", "install", "--quiet"]
            if torch:
                _call([*pip, *(["--index-url", self.torch_index] if self.torch_index else []), *torch])
            source = [f"--no-binary={name}" for name in peer.from_source]
            _call([*pip, *source, *torch, *peer.packages])
            made.write_text(wanted)
        return python


def rounds(workers: Sequence[Worker], workloads: Sequence[str]) -> dict[str, np.ndarray]:
    """Wall and CPU seconds of each worker, [workloads, 2]; in each round all have the same work."""
    taken: dict[str, list[tuple[float, float]]] = {worker.name: [] for worker in workers}
    for workload in workloads:
        for worker in workers:
            taken[worker.name].append(worker.run(workload))
    return {name: np.array(times) for name, times in taken.items()}


def _call(command: list[str]) -> None:
    # The lock is for our environment; a peer has what its own authors ask for.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unavailable(str(error)) from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command[1:4])}: {_reason(done.stderr)}")


def _environment(threads: int) -> dict[str, str]:
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "HF_HOME": str((HOME / "hf").resolve()),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }


def _reason(text: str) -> str:
    """Where a compiler or CMake says what went wrong, that line; else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _COMPILER.search(line)]
    return [*errors, *lines[-1:], "it ended without a word"][0]
