"""What the peers share: a JSON command a line on stdin, a JSON answer a line on stdout, one at a time.

``{"keep": name, "texts": [...]}`` stores a workload. ``{"run": name}`` embeds it and answers with wall and
CPU seconds, those of all threads. ``{"vectors": [[...], ...], "file": path}`` embeds each list of texts by
itself and writes the vectors of all.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Encode = Callable[[list[str]], Sequence[Any]]


class Peer:
    """One way to embed, and the workloads it holds."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._texts: dict[str, list[str]] = {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what one command says."""
        if "run" in command:
            return self._run(self._texts[command["run"]])
        if "keep" in command:
            self._texts[command["keep"]] = command["texts"]
        else:
            vectors = [np.stack(self._encode(group)) for group in command["vectors"]]
            np.save(command["file"], np.concatenate(vectors))
        return {}

    def _run(self, texts: list[str]) -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        made = self._encode(texts)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert len(made) == len(texts)
        return {"wall": wall, "cpu": cpu}


def serve(encode: Encode, versions: str) -> None:
    """Answer until stdin ends; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = Peer(encode)
    encode(["Call me Ishmael."])
    answers.write(json.dumps({"versions": versions}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(peer.answer(json.loads(line))) + "\n")
