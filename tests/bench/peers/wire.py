"""What the peers share: a JSON command a line on stdin, a JSON answer a line on stdout, one at a time.

``{"keep": name, "groups": [[...], ...]}`` stores a workload: groups of items, each worked at as one.
``{"run": name}`` does it and answers with wall and CPU seconds, those of all threads.
``{"make": [[...], ...], "file": path}`` writes what each item gave, as arrays in NumPy's format.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Work = Callable[[list[Any]], Sequence[Any]]
"""What one group of items gives, an array or a list of numbers for each."""

Request = dict[str, Any]
"""Of a language model: ``prompt``, a list of ids, and ``count``, how many tokens to write."""


class Peer:
    """One way to do the work, and the workloads it holds."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._kept: dict[str, list[list[Any]]] = {}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do what one command says."""
        if "run" in command:
            return self._run(self._kept[command["run"]])
        if "keep" in command:
            self._kept[command["keep"]] = command["groups"]
        else:
            made = [np.asarray(each) for group in command["make"] for each in self._work(group)]
            np.savez(command["file"], *made)
        return {}

    def _run(self, groups: list[list[Any]]) -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        made = [self._work(group) for group in groups]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert list(map(len, made)) == list(map(len, groups))
        return {"wall": wall, "cpu": cpu}


def serve(work: Work, versions: str, warm_up: list[Any]) -> None:
    """Answer until stdin ends; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = Peer(work)
    work(warm_up)
    answers.write(json.dumps({"versions": versions}) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(peer.answer(json.loads(line))) + "\n")


def serve_texts(encode: Callable[[list[str]], Sequence[Any]], versions: str) -> None:
    """Serve a way to embed texts."""
    serve(encode, versions, ["Call me Ishmael."])


def serve_tokens(generate: Callable[[list[Request]], list[list[int]]], versions: str) -> None:
    """Serve a way to continue prompts. That every request got as many tokens as it asked for is checked."""

    def work(requests: list[Request]) -> list[list[int]]:
        made = generate(requests)
        counts = [(len(ids), request["count"]) for ids, request in zip(made, requests, strict=True)]
        assert all(count == wanted for count, wanted in counts), f"tokens made and wanted: {counts}"
        return made

    serve(work, versions, [{"prompt": [7, 11, 13], "count": 4}, {"prompt": [17] * 9, "count": 9}])
