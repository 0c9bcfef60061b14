"""GANs of the shipped shape with random weights, in a store of their own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from services.common.export.exporter import StoreExporter
from services.common.store import Kind, Manifest, ModelVersion, describe_files
from services.common.store.disk import DiskLayer
from services.common.store.settings import StoreSettings
from services.finetune.recipes.average import halves
from services.finetune.recipes.peeps.vector import VOCABULARY
from services.gan.engine import Model
from services.gan.families.stylegan import Config, Discriminator, Generator
from services.gan.loading.exporting import graphs_of
from services.gan.loading.loader import GanLoader, opener
from tests.bench.children import HOME

STORE, CACHE = HOME / "gan-store", HOME / "cache"
LARGE, SMALL = "bench-gan-64", "bench-gan-32"
CONFIGS = {
    name: Config.of(size, len(VOCABULARY), finest=32, most=128) for name, size in ((LARGE, 64), (SMALL, 32))
}
"""The widths of the shipped peeps-gan, which has 32 pixels, and the same at 64."""


def prepare() -> None:
    """Publish what the store lacks."""
    for name, config in CONFIGS.items():
        folder = HOME / name
        if (STORE / name / "1").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        networks = {"generator": Generator(config), "discriminator": Discriminator(config)}
        for part, network in networks.items():
            save_file(halves(network), folder / f"{part}.safetensors")
        manifest = Manifest(
            name=name,
            version="1",
            kind=Kind.GAN,
            family="stylegan",
            config={
                "stylegan": json.loads(json.dumps(asdict(config))),
                "attributes": [list(each) for each in VOCABULARY],
            },
            files=describe_files(folder),
        )
        DiskLayer(STORE, "user", writable=True).publish(folder, manifest)


def version_of(name: str) -> tuple[ModelVersion, Path]:
    """A version of the store and its files."""
    store = StoreSettings(shipped=STORE, user=str(HOME / "none"), cache=CACHE).open()

    async def found() -> tuple[ModelVersion, Path]:
        version = await store.resolve(name)
        return version, await store.fetch(version)

    return asyncio.run(found())


def opened(name: str, threads: int, rows: int) -> Model:
    """The model as the service loads it, settled."""
    loader = GanLoader(StoreExporter(CACHE, graphs_of), opener("cpu", threads), rows)
    model = loader.load(*version_of(name))
    loader.warm_up(model)
    return model
