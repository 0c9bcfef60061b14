"""Runs the sampler: ``python -m services.sampler``."""

from __future__ import annotations

import os
import sys

import grpc.aio

from pequod.model.v1 import add_ModelServiceServicer_to_server
from pequod.sampler.v1 import add_SamplerServiceServicer_to_server
from services.common.catalogue import MODEL_SERVICE, SERVICES, entry
from services.common.disks import DiskCollector
from services.common.export.exporter import StoreExporter
from services.common.metrics import Metrics
from services.common.residency import ModelManager
from services.common.rpc.model_servicer import ModelServicer
from services.common.rpc.process import run
from services.common.rpc.resources import Resources
from services.common.rpc.server import serve, server_settings
from services.common.settings import from_environment
from services.common.store import ModelStore
from services.common.store.settings import StoreSettings
from services.common.threads import own_threads
from services.sampler.exporting import graphs_of
from services.sampler.loader import EngineLoader, Loaded
from services.sampler.scheduler import Limits, Scheduler
from services.sampler.servicer import SamplerServicer
from services.sampler.settings import SamplerSettings
from services.sampler.transformer.loading import Budget
from services.sampler.transformer.onnx.opening import Placement
from services.sampler.transformer.opening import device_of

NAME = "sampler"


class SamplerProcess:
    """The parts of a sampler put together; ``services.common.rpc.server`` gives it its life."""

    def __init__(self, settings: SamplerSettings, models: StoreSettings, metrics: Metrics) -> None:
        self._settings = settings
        store = models.open()
        self._exporter = StoreExporter(models.cache, graphs_of)
        self._manager: ModelManager[Loaded] = ModelManager(
            store, _loader(store, settings), metrics, models.memory_bytes, models.load_wait
        )
        self._resources = Resources([self._manager], models)
        metrics.registry.register(DiskCollector(self._resources.folders))
        limits = Limits(settings.max_running, settings.max_waiting, settings.pace_ms / 1e3)
        self._scheduler = Scheduler(metrics, limits)

    def register(self, server: grpc.aio.Server) -> tuple[str, ...]:
        """Add both servicers."""
        settings = self._settings
        sampler = SamplerServicer(self._manager, self._scheduler, settings.default_model, settings.max_tokens)
        add_SamplerServiceServicer_to_server(sampler, server)
        add_ModelServiceServicer_to_server(
            ModelServicer(self._manager, NAME, self._exporter, self._resources), server
        )
        return (*entry(NAME).grpc_services, MODEL_SERVICE)

    async def start(self) -> None:
        """Load what is to be there at once."""
        self._scheduler.start()
        await self._manager.start(self._settings.preload)

    async def close(self) -> None:
        """End the steps, then let go of the models."""
        await self._scheduler.close()
        await self._manager.close()


def _loader(store: ModelStore, settings: SamplerSettings) -> EngineLoader:
    """Transformers run with this process's share of the cores."""
    placement = Placement(
        settings.precision,
        own_threads(len(SERVICES)),
        settings.slots,
        settings.context,
        settings.adapters,
        settings.adapter_rank,
        settings.device,
    )
    if settings.device == "cuda":
        device_of("cuda")  # where there is none the process does not start
    return EngineLoader(store, placement, Budget(settings.cache_bytes, settings.prefix_bytes))


async def main() -> None:
    """Read the settings and serve until told to stop."""
    metrics = Metrics(NAME)
    settings = from_environment(SamplerSettings, os.environ)
    models = from_environment(StoreSettings, os.environ)
    await serve(SamplerProcess(settings, models, metrics), server_settings(entry(NAME), os.environ), metrics)


if __name__ == "__main__":
    sys.exit(run(NAME, main, len(SERVICES)))
