"""The peers of bench_embed as child processes, each in an environment of its own, all warm at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HOME = Path("var/bench")
SCRIPTS = Path(__file__).parent / "embed_peers"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Peer:
    """A way to embed. ``packages``: what its environment needs beside torch; none: it runs in ours."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


INT8 = Peer("ours, int8", "ours.py", ("int8",))
FP32 = Peer("ours, fp32", "ours.py", ("fp32",))
SENTENCE = Peer("sentence-transformers", "sentence.py", (), ("sentence-transformers",))
INFINITY = Peer("infinity-emb", "infinity.py", (), ("infinity-emb[torch]", "transformers<5"))


class Unavailable(RuntimeError):
    """A peer that does not run here; the text says why."""


class Child:
    """A peer's process. It works only while it is asked."""

    def __init__(self, peer: Peer, python: Path, folder: Path, threads: int) -> None:
        self.peer = peer
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

    def keep(self, name: str, texts: Sequence[str]) -> None:
        """Hand it a workload."""
        self._ask({"keep": name, "texts": list(texts)})

    def run(self, name: str) -> tuple[float, float]:
        """Wall and CPU seconds of a workload."""
        answer = self._ask({"run": name})
        return answer["wall"], answer["cpu"]

    def vectors(self, groups: Sequence[Sequence[str]]) -> np.ndarray:
        """Vectors of all texts, each group embedded as one call."""
        file = self._log.with_suffix(".npy")
        self._ask({"vectors": [list(group) for group in groups], "file": str(file)})
        made: np.ndarray = np.load(file)
        file.unlink()
        return made

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=60)

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
            raise Unavailable(_last_line(self._log.read_text(errors="replace")))
        answer: dict[str, Any] = json.loads(line)
        return answer


def interpreter(peer: Peer, torch: str, torch_index: str) -> Path:
    """The peer's Python, its environment made at first use. Raises Unavailable with what pip says."""
    if not peer.packages:
        return Path(sys.executable)
    folder = HOME / peer.name
    made, wanted = folder / "made.json", json.dumps([torch, *peer.packages])
    python = folder / "bin/python"
    if not made.exists() or made.read_text() != wanted:
        sys.stderr.write(f"making {folder} ...\n")
        shutil.rmtree(folder, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(folder)])
        index = ["--index-url", torch_index] if torch_index else []
        _call([str(python), "-m", "pip", "install", "--quiet", *index, torch])
        _call([str(python), "-m", "pip", "install", "--quiet", torch, *peer.packages])
        made.write_text(wanted)
    return python


def _call(command: list[str]) -> None:
    # The lock is for our environment; a peer has what its own authors ask for.
    environment = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command[1:4])}: {_last_line(done.stderr)}")


def _environment(threads: int) -> dict[str, str]:
    return {
        **os.environ,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "HF_HOME": str((HOME / "hf").resolve()),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"
