"""Tiny GANs with random weights, published into a store as recipe train_gan leaves them."""

from __future__ import annotations

import asyncio
import importlib
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pequod.gan import v1
from services.common.metrics import Metrics
from services.common.store import Kind, Manifest, describe_files
from services.common.store.disk import DiskLayer
from services.common.store.settings import StoreSettings
from services.gan.__main__ import GanProcess
from services.gan.companions import directions, encoder, neighbours
from services.gan.families import dcgan, stylegan
from services.gan.settings import GanSettings
from services.gan.vocabulary import Vocabulary
from tests.shared import made_once
from tests.unit.clip_models import directory as clip_directory
from tests.unit.serving import serving

MODELS = Path(__file__).parents[3] / "models"
WORDS = (
    ("glasses", "glasses"),
    ("glasses", "none"),
    ("glasses", "round glasses"),
    ("style", "open-peeps"),
    ("style", "pixel-art"),
)
STYLEGAN = stylegan.Config(
    size=16, latent=8, attributes=5, width=8, depth=2, widths=(8, 8, 4), critic_widths=(8, 6, 4), features=8
)
DCGAN = dcgan.Config(size=16, latent=8, widths=(8, 4), critic_widths=(4, 8))
SMALL = replace(STYLEGAN, size=8, widths=(8, 4), critic_widths=(6, 4))
"""For what asks whether it is there at all."""
CONFIGS: dict[str, Any] = {"stylegan": STYLEGAN, "dcgan": DCGAN}
SCORES = {"real": [-1.0, 0.0, 3.0], "made": [-3.0, -1.0, 2.0]}
FEATURES, TRAINING = 16, 60
"""Features of a picture, and training images."""


def networks(family: str, config: Any, seed: int = 0) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Generator and discriminator, in which nothing is left at zero."""
    module = importlib.import_module(f"services.gan.families.{family}")
    torch.manual_seed(seed)
    generator, discriminator = module.Generator(config), module.Discriminator(config)
    for name, each in (*generator.named_parameters(), *generator.named_buffers()):
        if name.endswith(("strength", "mean")) and "running" not in name:
            each.data.normal_(std=0.3)
    return generator.eval(), discriminator.eval()


def write_version(
    folder: Path,
    family: str = "stylegan",
    config: Any = None,
    seed: int = 0,
    companions: bool = True,
    scores: bool = True,
) -> dict[str, Any]:
    """A version's files; returns its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = CONFIGS[family] if config is None else config
    for name, network in zip(("generator", "discriminator"), networks(family, sizes, seed), strict=True):
        halves = {key: each.half().contiguous() for key, each in network.state_dict().items()}
        save_file(halves, folder / f"{name}.safetensors")
    if companions:
        write_companions(folder, sizes.width)
    has_words = sizes.attributes == len(WORDS)
    known = {"scores": SCORES} if scores else {}
    return known | {
        family: json.loads(json.dumps(asdict(sizes))),
        "attributes": [list(each) for each in WORDS] if has_words else [],
    }


def write_companions(folder: Path, width: int) -> None:
    """Directions, features of training images and an encoder, all of them random."""
    chance = np.random.default_rng(0)
    ways = {f"{name}:{word}": chance.standard_normal(width) for name, word in WORDS}
    directions.write(folder, ways)
    points = chance.standard_normal((TRAINING, FEATURES)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    stated = np.zeros((TRAINING, len(WORDS)), np.uint8)
    stated[:, 3] = 1
    stated[::2, 0] = 1
    reduced = neighbours.reduce(points, 12)
    neighbours.write(folder, "tiny-clip:1", reduced, Vocabulary(WORDS), stated)
    weights = 0.1 * chance.standard_normal((3 * encoder.SIDE**2, width))
    encoder.write(folder, weights.astype(np.float32), np.zeros(width, np.float32))


def publish(store: Path, name: str, kind: Kind, family: str, folder: Path, config: Mapping[str, Any]) -> None:
    """Version 1 of a model whose files are in ``folder``."""
    manifest = Manifest(
        name=name, version="1", kind=kind, family=family, config=dict(config), files=describe_files(folder)
    )
    DiskLayer(store, "user", writable=True).publish(folder, manifest)


def publish_gan(store: Path, name: str = "tiny-gan", family: str = "stylegan", **options: Any) -> None:
    """A tiny GAN."""
    with tempfile.TemporaryDirectory() as folder:
        config = write_version(Path(folder), family, **options)
        publish(store, name, Kind.GAN, family, Path(folder), config)


def publish_clip(store: Path, name: str = "tiny-clip") -> None:
    """A tiny image embedder, whose pictures have ``FEATURES`` features."""
    with tempfile.TemporaryDirectory() as folder:
        made = clip_directory(Path(folder))
        config = json.loads((made / "config.json").read_text())
        publish(store, name, Kind.TEXT_IMAGE_EMBEDDER, "clip", made, config)


def home_of(factory: pytest.TempPathFactory) -> Path:
    """A home for ``gan_service`` that all tests of a run share: see ``write_home``."""
    return made_once(factory, "gan", write_home)


def write_home(home: Path) -> None:
    """tiny-gan with all companions, plain, a DCGAN, and bare without any; all that serving them needs."""
    publish_gan(home / "user")
    publish_gan(home / "user", "plain", family="dcgan", companions=False)
    publish_gan(home / "user", "bare", config=SMALL, companions=False, scores=False)
    publish_clip(home / "user")
    asyncio.run(_loaded(home, "tiny-gan", "plain", "bare"))


async def _loaded(home: Path, *names: str) -> None:
    """Their graphs, and the embedder's, which the first projection writes: one that a test begins and leaves
    would go on into the next, where warnings are errors again."""
    async with gan_service(home, preload=names) as (stub, _):
        drawn = await stub.Sample(v1.SampleRequest(seeds=[1]))
        async for _ in stub.Project(v1.ProjectRequest(image=drawn.images[0].image, steps=1)):
            pass


@asynccontextmanager
async def gan_service(
    home: Path, shipped: Path = MODELS, **settings: Any
) -> AsyncIterator[tuple[v1.GanServiceStub, Metrics]]:
    """A stub on a running service, and its metrics. ``home/user`` is its store, over the shipped one."""
    metrics = Metrics("gan")
    stores = StoreSettings(shipped=shipped, user=str(home / "user"), cache=home / "cache", load_wait=300)
    chosen = GanSettings(**{"default_model": "tiny-gan", "feature_model": "tiny-clip", **settings})
    async with serving(GanProcess(chosen, stores, metrics, 1), metrics) as channel:
        yield v1.GanServiceStub(channel), metrics
