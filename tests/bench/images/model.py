"""The shipped model as the service loads it, and requests as the service plans them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pequod.diffusion import v1
from services.common.export.exporter import StoreExporter
from services.common.store import ModelVersion
from services.common.store.settings import StoreSettings
from services.diffusion.loading.exporting import graphs_of
from services.diffusion.loading.loader import ModelLoader
from services.diffusion.onnx.model import PixelModel
from services.diffusion.pipelines.placement import Placement
from services.diffusion.planning import Plan, plan
from services.diffusion.request import read_generate

MODEL = "peeps-diffusion"
PROMPT = "a smiling person with red hair and round glasses, blue background"
GUIDANCE = 3.0
SIDE = 32


class Opened:
    """A store with its loader. ``threads``: of one call of a network."""

    def __init__(self, models: Path, threads: int) -> None:
        self.threads = threads
        self.settings = StoreSettings(shipped=models, cache=Path("var/bench/cache"))
        self._store = self.settings.open()
        exporter = StoreExporter(self.settings.cache, graphs_of, kept=(models,))
        self._loader = ModelLoader(exporter, Placement(device="cpu"), threads)

    def version(self, reference: str) -> tuple[ModelVersion, Path]:
        """A version and its files. Raises ServiceError when there is none."""

        async def found() -> tuple[ModelVersion, Path]:
            version = await self._store.resolve(reference)
            return version, await self._store.fetch(version)

        return asyncio.run(found())

    def model(self, reference: str = MODEL) -> PixelModel:
        """The model, measured as at the service's start."""
        loaded = self._loader.load(*self.version(reference))
        assert isinstance(loaded, PixelModel)
        return loaded


def planned(
    model: PixelModel,
    steps: int,
    guidance: float = GUIDANCE,
    scheduler: str = "dpmpp_2m",
) -> Plan:
    """One image of a fixed seed."""
    request = v1.GenerateRequest(
        prompt=PROMPT,
        steps=steps,
        guidance_scale=guidance,
        seed=7,
        scheduler=v1.Scheduler.Value(f"SCHEDULER_{scheduler.upper()}"),
    )
    return plan(read_generate(request), model, ())
