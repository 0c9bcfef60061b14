"""Runs an encoder's graphs over rows: pads them, runs, pools."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.runtimes import Runtime
from services.tokenizer.encoders.directory import EncoderConfig
from services.tokenizer.encoders.reading import Reader
from services.tokenizer.engine import EmbedOptions, Floats, Input, Pooling, Precision, Row, Truncation

STATES = "token_embeddings"
SCORES = "logits"


@dataclass(frozen=True)
class Graphs:
    """How to open a model's graph in each number format; the first is the default."""

    openers: Mapping[Precision, Callable[[], Runtime]]
    compute: threading.Lock
    """Held while a graph runs: two models that each take all threads make both slower."""


class GraphRunner:
    """The graphs of one model, opened when first asked for. Rows are padded to the longest of a batch."""

    def __init__(self, graphs: Graphs) -> None:
        self.precisions = tuple(graphs.openers)
        self._graphs = graphs
        self._open: dict[Precision, Runtime] = {}

    def run(
        self, rows: Sequence[Row], precision: Precision, output: str
    ) -> tuple[Floats, npt.NDArray[np.int64]]:
        """The output named, and the mask [rows, tokens] of what is no padding."""
        ids, mask, type_ids = _padded(rows)
        with self._graphs.compute:
            runtime = self._runtime(precision)
            feeds = {"input_ids": ids, "attention_mask": mask}
            if any(tensor.name == "token_type_ids" for tensor in runtime.inputs):
                feeds["token_type_ids"] = type_ids
            return runtime.run(feeds)[output], mask

    def close(self) -> None:
        """Let go of the graphs."""
        with self._graphs.compute:
            for runtime in self._open.values():
                runtime.close()
            self._open.clear()

    def _runtime(self, precision: Precision) -> Runtime:
        if precision not in self._open:
            self._open[precision] = self._graphs.openers[precision]()
        return self._open[precision]


class Encoder:
    """See ``services.tokenizer.engine.Embedder``."""

    reads_pictures = False

    def __init__(self, name: str, config: EncoderConfig, reader: Reader, graphs: Graphs) -> None:
        self.name = name
        self.dimensions = config.dimensions
        self.max_tokens = config.max_tokens
        self.normalize = config.normalize
        self.prompts = config.prompts
        self._reader = reader
        self._runner = GraphRunner(graphs)
        self.precisions = self._runner.precisions

    def prepare(self, inputs: Sequence[Input], options: EmbedOptions) -> list[Row]:
        """Prefix, tokens, template, truncation."""
        return self._reader.rows(inputs, options)

    def run(self, rows: Sequence[Row], precision: Precision) -> Sequence[Floats]:
        """Pooled states, [dimensions] each."""
        states, mask = self._runner.run(rows, precision, STATES)
        pooled = np.empty((len(rows), states.shape[2]), np.float32)
        for pooling in {row.pooling for row in rows}:
            chosen = [place for place, row in enumerate(rows) if row.pooling is pooling]
            pooled[chosen] = pool(states[chosen], mask[chosen], pooling)
        return list(pooled)

    def close(self) -> None:
        """Let go of the graphs."""
        self._runner.close()


class CrossEncoder:
    """See ``services.tokenizer.engine.Reranker``."""

    def __init__(self, name: str, config: EncoderConfig, reader: Reader, graphs: Graphs) -> None:
        self.name = name
        self.max_tokens = config.max_tokens
        self._reader = reader
        self._runner = GraphRunner(graphs)
        self.precisions = self._runner.precisions

    def prepare_pairs(self, query: Input, documents: Sequence[Input], truncation: Truncation) -> list[Row]:
        """Query and document in one row."""
        return self._reader.pairs(query, documents, truncation)

    def run(self, rows: Sequence[Row], precision: Precision) -> Sequence[Floats]:
        """The logit of each row, [1] each."""
        scores, _ = self._runner.run(rows, precision, SCORES)
        return list(scores)

    def close(self) -> None:
        """Let go of the graphs."""
        self._runner.close()


def pool(states: Floats, mask: npt.NDArray[np.int64], pooling: Pooling) -> Floats:
    """States [rows, tokens, dimensions] to vectors [rows, dimensions]; padding at the ends is left out."""
    if pooling is Pooling.CLS:
        return np.asarray(states[:, 0])
    lengths = mask.sum(axis=1)
    if pooling is Pooling.LAST:
        return np.asarray(states[np.arange(len(states)), lengths - 1])
    if pooling is Pooling.MAX:
        return np.asarray(np.where(mask[..., None] > 0, states, -np.inf).max(axis=1))
    shares = (mask / lengths[:, None]).astype(np.float32)
    return np.asarray((shares[:, None, :] @ states)[:, 0, :])


def _padded(rows: Sequence[Row]) -> tuple[npt.NDArray[np.int64], ...]:
    """Ids, mask and type ids, [rows, longest] each; padding is id 0, which the mask hides."""
    longest = max(len(row.ids) for row in rows)
    ids, mask, type_ids = (np.zeros((len(rows), longest), np.int64) for _ in range(3))
    for place, row in enumerate(rows):
        size = len(row.ids)
        ids[place, :size] = row.ids
        mask[place, :size] = 1
        if row.type_ids:
            type_ids[place, :size] = row.type_ids
    return ids, mask, type_ids
