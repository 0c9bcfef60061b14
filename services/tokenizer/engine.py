"""The contract of what turns inputs into vectors, and the values that requests and engines share."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Pooling(enum.Enum):
    """How the vectors of an input's tokens become one."""

    MEAN = "mean"
    CLS = "cls"
    LAST = "last"
    MAX = "max"


class Truncation(enum.Enum):
    """What to do with an input longer than the model reads."""

    REFUSE = "refuse"
    END = "end"
    START = "start"


class Precision(enum.Enum):
    """Number format a model computes in."""

    INT8 = "int8"
    FP32 = "fp32"


@dataclass(frozen=True)
class EmbedOptions:
    """How inputs become vectors; None stands for what the model's configuration says."""

    pooling: Pooling | None = None
    normalize: bool | None = None
    dimensions: int | None = None
    truncation: Truncation = Truncation.REFUSE
    prompt: str = ""
    """Name of a prefix in the model's configuration."""
    precision: Precision | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to embed: a text, ids without the tokens that the model's template adds, or a picture."""

    field: str
    """Where it stands in the request, for errors."""
    text: str = ""
    ids: Sequence[int] | None = None
    image: bytes | None = None
    """A picture's file, not looked into yet."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """An input as the model reads it."""

    ids: Sequence[int]
    type_ids: Sequence[int] = ()
    """Which of a pair's texts each id belongs to; empty for models that do not ask."""
    pooling: Pooling = Pooling.MEAN
    truncated: bool = False
    picture: npt.NDArray[np.uint8] | None = None
    """What the model sees of a picture; there are no ids then."""
    weight: int = 0
    """The tokens that it takes as long as, where it has none itself."""

    @property
    def cost(self) -> float:
        """In tokens."""
        return float(self.weight or len(self.ids))


class Engine(Protocol):
    """A model whose rows are batched. ``prepare`` may run in several threads at once, ``run`` in one."""

    name: str
    max_tokens: int
    """Longest row, the template's tokens included."""
    precisions: tuple[Precision, ...]
    """Formats it can compute in, the default first."""

    def run(self, rows: Sequence[Row], precision: Precision) -> Sequence[Floats]:
        """The vector of each row, as pooled, neither cut nor scaled."""
        ...


class Embedder(Engine, Protocol):
    """An engine whose vectors stand for inputs."""

    dimensions: int
    normalize: bool
    """Whether vectors are scaled to length 1 unless a request says otherwise."""
    prompts: Mapping[str, str]
    reads_pictures: bool
    """Whether inputs may be pictures; ``prepare`` of others gets none."""

    def prepare(self, inputs: Sequence[Input], options: EmbedOptions) -> list[Row]:
        """Rows of inputs. Raises INVALID_ARGUMENT naming the field of one that cannot be read."""
        ...


class Reranker(Engine, Protocol):
    """An engine whose vectors hold one number: how well a document answers a query."""

    def prepare_pairs(self, query: Input, documents: Sequence[Input], truncation: Truncation) -> list[Row]:
        """Rows of the query with each document. Raises INVALID_ARGUMENT naming the field."""
        ...


def finish(vector: Floats, dimensions: int | None, normalize: bool) -> Floats:
    """The first ``dimensions`` of a pooled vector, scaled to length 1 if ``normalize``; zero stays zero."""
    kept = vector if dimensions is None else vector[:dimensions]
    if not normalize:
        return kept
    return kept / max(float(np.sqrt(np.dot(kept, kept))), 1e-12)
