"""Looks inside a model: one pass over a prompt that shows its three phases."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from services.sampler.engine import Alternative, Inside
from services.sampler.ngrams.alphabet import Ids
from services.sampler.transformer.choice import likeliest, log_sum_of
from services.sampler.transformer.onnx.session import open_session
from services.sampler.transformer.runner import Logits


class Inspector:
    """Opens its graph for each look and closes it again: looks are rare, and weights are large."""

    def __init__(self, graph: Path, weights: Path, threads: int) -> None:
        self._graph, self._weights, self._threads = graph, weights, threads
        self._one_at_a_time = threading.Lock()

    def look(self, ids: Ids, chosen: Ids, top: int) -> Inside:
        """What happens to a prompt's ids, with the attention of the positions ``chosen``."""
        with self._one_at_a_time:
            session = open_session(self._graph, load_file(self._weights), self._threads)
            feeds = {"ids": ids, "chosen": chosen if chosen.size else np.zeros(1, np.int64)}
            embeddings, norms, readouts, attention = session.run(None, feeds)
            del session
        return Inside(
            embeddings=embeddings,
            norms=norms,
            readouts=[_alternatives(logits, top) for logits in readouts],
            attention=attention[:, :, : chosen.size],
        )


def _alternatives(logits: Logits, top: int) -> list[Alternative]:
    """The likeliest tokens of logits [vocabulary], likeliest first."""
    log_sum = log_sum_of(logits)
    ids = likeliest(logits, top)
    order = ids[np.argsort(-logits[ids], kind="stable")]
    return [Alternative(int(token), float(logits[token]) - log_sum) for token in order]
