"""What a GAN's version has beside its networks: directions, an encoder, features of its training images.

All of it is fitted in closed form when the training is over; the formats are ``services.gan.companions``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from services.common.pictures.arrays import Array
from services.common.store.manifest import MANIFEST_NAME, read_manifest
from services.common.text_image.preprocessing import read_preprocessing
from services.finetune.recipes.peeps.dataset import Peeps
from services.finetune.recipes.peeps.vector import VOCABULARY, vectors
from services.gan.companions import directions, encoder, neighbours
from services.gan.vocabulary import Vocabulary

_STYLES, _PICTURES, _MEASURED = 16_384, 4096, 512
"""Styles that directions are fitted to; made pictures that the encoder is, and others to measure it."""
_RIDGE = 1e-3
"""Pull of the fits towards 0, as a share of the inputs' mean square."""
_MOST_IMAGES, _PARTS = 25_000, 64
"""Training images whose features are kept, by so many numbers of 8 bits: 2 MB."""
_ROWS = 250
_LEAST_SIDE = encoder.SIDE

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sources:
    """What companions are made of."""

    data: Peeps
    held_out: Peeps
    features: Path | None = None
    """A version of a text-image embedder, in whose space training images are found; None: they are not."""


def write(out: Path, generator: nn.Module, sources: Sources) -> tuple[dict[str, Any], dict[str, float]]:
    """Write the files into ``out``; returns what the configuration and the metrics say of them.

    ``generator``: as services.gan.families.stylegan has it, with weights that are final. Raises
    FileNotFoundError or ValueError for a folder of features that holds no embedder.
    """
    settings: Any = generator.config
    stated = vectors(sources.data.avatars)
    ways, explained = fit_directions(generator, stated)
    directions.write(out, ways)
    metrics = {"directions_explained": explained}
    if settings.size % _LEAST_SIDE == 0:
        weights, offset, explained = fit_encoder(generator, stated)
        encoder.write(out, weights, offset)
        metrics["encoder_explained"] = explained
    if sources.features is not None:
        metrics |= _write_neighbours(out, settings.size, stated, sources, sources.features)
    config = {"layers": settings.layers, "dimensions": settings.width, "directions": list(ways)}
    return config, metrics


def fit_directions(generator: nn.Module, stated: Bytes) -> tuple[dict[str, Array], float]:
    """The way of each word through style space, and the share of the styles' variance that words explain.

    Styles are a linear function of the words stated, fitted to all of them at once: what a word adds while
    all others stay, against the mean of the other words of its attribute. Its length is what one standard
    deviation of "has the word" makes.
    """
    styles, labels = _styles(generator, stated, _STYLES, seed=0)
    effects, _, explained = _fitted(labels, styles)
    vocabulary = np.array([name for name, _ in VOCABULARY])
    spread = labels.std(axis=0)
    ways = {}
    for place, (name, word) in enumerate(VOCABULARY):
        others = (vocabulary == name) & (np.arange(len(VOCABULARY)) != place)
        against = effects[others].mean(axis=0) if others.any() else 0.0
        ways[f"{name}:{word}"] = np.asarray((effects[place] - against) * spread[place], np.float32)
    return ways, explained


def fit_encoder(generator: nn.Module, stated: Bytes) -> tuple[Array, Array, float]:
    """Weights and offset of a guess at styles, and the variance it explains in pictures it never saw."""
    styles, _ = _styles(generator, stated, _PICTURES + _MEASURED, seed=1)
    seen = encoder.seen(_drawn(generator, styles))
    weights, offset, _ = _fitted(seen[:_PICTURES], styles[:_PICTURES])
    guessed = seen[_PICTURES:] @ weights + offset
    return weights, offset, _explained(styles[_PICTURES:], guessed)


def points(pictures: Bytes, features: Path) -> Array:
    """[n, size, size, 3] -> [n, dimensions] of length 1, exactly as the GAN service sees pictures."""
    from services.common.text_image.graphs import clip_graphs
    from services.common.text_image.names import IMAGE, PIXELS

    spec = clip_graphs(features)[IMAGE]
    preprocessing = read_preprocessing(features, spec.example_inputs[PIXELS].shape[-1])
    parts = []
    for begin in range(0, len(pictures), _ROWS):
        fitted = [preprocessing.fit(each) for each in pictures[begin : begin + _ROWS]]
        with torch.no_grad():
            parts.append(spec.module(torch.from_numpy(preprocessing.values(fitted))).numpy())
    found = np.concatenate(parts)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def kept(reduced: neighbours.Reduced, known: Array, queries: Array) -> tuple[float, float]:
    """Of queries [n, dimensions], shares whose nearest known point stays nearest, or among the first four."""
    first = [int(np.argmax(known @ each)) for each in queries]
    found = [np.argsort(-reduced.similarities(each), kind="stable")[:4] for each in queries]
    return (
        float(np.mean([place == near[0] for place, near in zip(first, found, strict=True)])),
        float(np.mean([place in near for place, near in zip(first, found, strict=True)])),
    )


def _write_neighbours(
    out: Path, size: int, stated: Bytes, sources: Sources, features: Path
) -> dict[str, float]:
    """Pictures are looked at in the GAN's size, as those that it makes are."""
    known = points(sources.data.at(size)[:_MOST_IMAGES], features)
    reduced = neighbours.reduce(known, min(_PARTS, *known.shape))
    manifest = read_manifest((features / MANIFEST_NAME).read_bytes(), str(features))
    reference = f"{manifest.name}:{manifest.version}"
    neighbours.write(out, reference, reduced, Vocabulary(VOCABULARY), stated[: len(known)])
    first, among = kept(reduced, known, points(sources.held_out.at(size), features))
    return {"neighbours": float(len(known)), "nearest_kept": first, "nearest_among_four": among}


@torch.no_grad()
def _styles(generator: nn.Module, stated: Bytes, count: int, seed: int) -> tuple[Array, Array]:
    """[count, width] of random latent vectors with the words of random avatars, and those [count, words]."""
    settings: Any = generator.config
    chance = torch.Generator().manual_seed(seed)
    z = torch.randn(count, settings.latent, generator=chance)
    labels = torch.from_numpy(stated)[torch.randint(len(stated), (count,), generator=chance)].float()
    w = generator.get_submodule("mapping")(*(each.to(_device(generator)) for each in (z, labels)))
    return w.float().cpu().numpy(), labels.numpy()


@torch.no_grad()
def _drawn(generator: nn.Module, styles: Array) -> Array:
    """Pictures [n, 3, size, size] of styles [n, width], each with grain of its own."""
    settings: Any = generator.config
    chance = torch.Generator().manual_seed(2)
    parts = []
    for some in torch.split(torch.from_numpy(styles), _ROWS):
        noise = torch.randn(len(some), settings.noise, generator=chance)
        codes = some[:, None].expand(-1, settings.layers, -1)
        given = (each.to(_device(generator)) for each in (codes, noise))
        made: Tensor = generator.get_submodule("synthesis")(*given)
        parts.append(made.clamp(-1, 1).float().cpu().numpy())
    return np.concatenate(parts)


def _fitted(inputs: Array, outputs: Array) -> tuple[Array, Array, float]:
    """Weights and offset of the best linear function, and the share of the variance that it explains."""
    x, y = (each - each.mean(axis=0, dtype=np.float64) for each in (inputs, outputs))
    squares = x.T @ x
    pull = _RIDGE * np.trace(squares) / len(squares)
    weights = np.linalg.solve(squares + pull * np.eye(len(squares)), x.T @ y)
    offset = outputs.mean(axis=0) - inputs.mean(axis=0) @ weights
    explained = _explained(outputs, inputs @ weights + offset)
    return np.asarray(weights, np.float32), np.asarray(offset, np.float32), explained


def _explained(wanted: Array, found: npt.NDArray[Any]) -> float:
    left = np.square(wanted - found).sum()
    return float(1 - left / np.square(wanted - wanted.mean(axis=0)).sum())


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
