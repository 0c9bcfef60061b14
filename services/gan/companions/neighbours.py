"""``neighbours.safetensors``: features of the training images, small, with what each of them shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from services.common.pictures.arrays import Array
from services.gan.vocabulary import Vocabulary

FILE = "neighbours.safetensors"
_FEATURE_MODEL, _WORDS = "feature_model", "words"
_STEPS = 127


@dataclass(frozen=True)
class Neighbour:
    """A training image."""

    index: int
    """Its number in the training set."""
    similarity: float
    caption: str


@dataclass(frozen=True, eq=False)
class Reduced:
    """Points of length 1 by their principal parts: ``mean + basis @ (scale * parts)``, nearly."""

    mean: Array
    """[features]."""
    basis: Array
    """[features, parts], orthonormal."""
    parts: npt.NDArray[np.int8]
    """[n, parts]."""
    scales: Array
    """[n]."""

    def similarities(self, point: Array) -> Array:
        """[n]: the cosine of a point of length 1 with each."""
        told = self.parts @ (self.basis.T @ point) * self.scales + self.mean @ point
        return np.asarray(told / self._lengths(), np.float32)

    def _lengths(self) -> Array:
        squares = np.square(self.parts, dtype=np.float32).sum(axis=1) * self.scales**2
        crossed = self.parts @ (self.basis.T @ self.mean) * self.scales
        lengths = np.sqrt(np.maximum(self.mean @ self.mean + 2 * crossed + squares, 1e-12))
        return np.asarray(lengths, np.float32)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The training images to look among."""

    feature_model: str
    """Reference of the version whose space it is."""
    reduced: Reduced
    words: Sequence[Sequence[str]]
    """The words of each column of the records."""
    records: npt.NDArray[np.uint8]
    """[n, columns]: 1 + the word's place; 0 where nothing is stated."""

    def __len__(self) -> int:
        return len(self.records)

    def nearest(self, point: Array, count: int) -> list[Neighbour]:
        """The ``count`` nearest to a point of length 1, nearest first; of equals the earlier."""
        similar = self.reduced.similarities(point)
        order = np.argsort(-similar, kind="stable")[:count]
        return [Neighbour(int(at), float(similar[at]), self.caption(int(at))) for at in order]

    def caption(self, index: int) -> str:
        """What an image shows."""
        places = zip(self.words, self.records[index].tolist(), strict=True)
        return ", ".join(words[place - 1] for words, place in places if place)


def reduce(points: Array, parts: int) -> Reduced:
    """Principal parts of points [n, features] of length 1, in 8 bits each."""
    mean = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - mean, full_matrices=False)
    basis = np.ascontiguousarray(axes[:parts].T, np.float32)
    wanted = (points - mean) @ basis
    scales = np.maximum(np.abs(wanted).max(axis=1), 1e-12) / _STEPS
    rounded = np.rint(wanted / scales[:, None]).astype(np.int8)
    return Reduced(np.asarray(mean, np.float32), basis, rounded, scales.astype(np.float32))


def write(
    folder: Path, feature_model: str, reduced: Reduced, vocabulary: Vocabulary, stated: npt.NDArray[np.uint8]
) -> None:
    """Write the file. ``stated`` [n, words] of 0 and 1, in the vocabulary's order."""
    columns, begin = [], 0
    for words in vocabulary.words.values():
        own = stated[:, begin : begin + len(words)]
        columns.append(np.where(own.any(axis=1), own.argmax(axis=1) + 1, 0).astype(np.uint8))
        begin += len(words)
    spelt = [[f"{name}: {word}" for word in each] for name, each in vocabulary.words.items()]
    tensors: dict[str, npt.NDArray[Any]] = {
        "mean": reduced.mean,
        "basis": reduced.basis,
        "parts": reduced.parts,
        "scales": reduced.scales,
        "records": np.stack(columns, axis=1),
    }
    save_file(tensors, folder / FILE, {_FEATURE_MODEL: feature_model, _WORDS: json.dumps(spelt)})


def read(folder: Path) -> Neighbours | None:
    """What ``folder`` has. Raises ValueError or KeyError where the parts do not fit each other."""
    if not (folder / FILE).is_file():
        return None
    with safe_open(folder / FILE, "numpy") as file:
        facts = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    reduced = Reduced(tensors["mean"], tensors["basis"], tensors["parts"], tensors["scales"])
    found = Neighbours(facts[_FEATURE_MODEL], reduced, json.loads(facts[_WORDS]), tensors["records"])
    _check(found)
    return found


def _check(found: Neighbours) -> None:
    reduced, count = found.reduced, len(found.records)
    features, parts = reduced.basis.shape
    shapes = (reduced.mean.shape, reduced.parts.shape, reduced.scales.shape, found.records.shape)
    if shapes != ((features,), (count, parts), (count,), (count, len(found.words))):
        raise ValueError(f"{FILE}: its parts are {shapes}, which do not fit each other")
    most = found.records.max(axis=0, initial=0)
    if any(place > len(words) for place, words in zip(most, found.words, strict=True)):
        raise ValueError(f"{FILE}: a record names a word that is not there")
