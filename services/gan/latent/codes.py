"""Latent codes, one style a layer: truncation, mixing, and the ways from one to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.common.pictures.arrays import Array

_NEARLY_PARALLEL = 1e-4
"""Radians below which a great circle is a straight line."""


def truncated(w: Array, mean: Array, psi: float, cutoff: int, layers: int) -> Array:
    """[width], moved towards the mean in the first ``cutoff`` layers (0: in all) -> [layers, width]."""
    code = np.repeat(w[None], layers, axis=0)
    if psi != 1.0:
        code[: cutoff or layers] = mean + np.float32(psi) * (w - mean)
    return code


def mixed(codes: Sequence[Array], layers: Sequence[Sequence[int]]) -> Array:
    """The first code, with ``layers[i]`` of code i + 1."""
    base, *donors = codes
    code = base.copy()
    for donor, taken in zip(donors, layers, strict=True):
        code[list(taken)] = donor[list(taken)]
    return code


def straight(begin: Array, end: Array, share: float) -> Array:
    """``share`` of the way in a straight line; its ends are met exactly."""
    return np.asarray((1 - share) * begin + share * end, np.float32)


def curved(begin: Array, end: Array, share: float) -> Array:
    """``share`` of the way along the great circle through two vectors, or through each pair of rows."""
    a, b = begin.astype(np.float64), end.astype(np.float64)
    lengths = np.linalg.norm(a, axis=-1, keepdims=True) * np.linalg.norm(b, axis=-1, keepdims=True)
    cosine = np.sum(a * b, axis=-1, keepdims=True) / np.where(lengths > 0, lengths, 1.0)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    sine = np.sin(angle)
    # Opposite vectors have no one great circle between them, and vectors of no length none at all.
    is_line = (sine < _NEARLY_PARALLEL) | (lengths == 0)
    sine = np.where(is_line, 1.0, sine)
    first = np.where(is_line, 1 - share, np.sin((1 - share) * angle) / sine)
    second = np.where(is_line, share, np.sin(share * angle) / sine)
    return np.asarray(first * a + second * b, np.float32)


def place_of(frame: int, frames: int, legs: int) -> tuple[int, float]:
    """The leg of a walk of so many that a frame is on, and the share of it that lies behind."""
    position = frame * legs / (frames - 1)
    leg = min(int(position), legs - 1)
    return leg, position - leg


def shifted(code: Array, directions: Mapping[str, Array], amounts: Mapping[str, float]) -> Array:
    """[layers, width] moved along directions [width]."""
    moved = code.astype(np.float64)
    for name, amount in amounts.items():
        moved += amount * directions[name].astype(np.float64)
    return np.asarray(moved, np.float32)
