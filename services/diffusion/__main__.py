"""Runs the diffusion service: ``python -m services.diffusion``."""

from __future__ import annotations

import os
import sys

import grpc.aio

from pequod.diffusion.v1 import add_DiffusionServiceServicer_to_server
from pequod.model.v1 import add_ModelServiceServicer_to_server
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
from services.common.store.settings import StoreSettings
from services.common.text_image.exporting import graphs_of_embedder
from services.common.threads import own_threads
from services.common.work import Work
from services.diffusion.engine import Ranker
from services.diffusion.loading.exporting import graphs_of
from services.diffusion.loading.loader import Loaded, ModelLoader
from services.diffusion.loading.rankers import RankerLoader
from services.diffusion.pipelines.placement import Placement
from services.diffusion.servicer import Defaults, DiffusionServicer
from services.diffusion.serving.dispatcher import Dispatcher
from services.diffusion.settings import DiffusionSettings

NAME = "diffusion"


class DiffusionProcess:
    """The parts of the service put together; ``services.common.rpc.server`` gives it its life."""

    def __init__(
        self, settings: DiffusionSettings, models: StoreSettings, metrics: Metrics, threads: int
    ) -> None:
        """``threads``: of one call of a network."""
        self._settings = settings
        store = models.open()
        self._exporter = StoreExporter(models.cache, graphs_of, kept=(models.shipped,))
        loader = ModelLoader(self._exporter, _placement(settings), threads)
        self._manager: ModelManager[Loaded] = ModelManager(
            store, loader, metrics, models.memory_bytes, models.load_wait
        )
        # Embedders are the tokenizer service's; their metrics are its to report.
        rankers = RankerLoader(
            StoreExporter(models.cache, graphs_of_embedder, kept=(models.shipped,)),
            _placement(settings),
            threads,
        )
        self._rankers: ModelManager[Ranker] = ModelManager(
            store, rankers, Metrics(NAME), models.memory_bytes, models.load_wait
        )
        self._resources = Resources([self._manager, self._rankers], models)
        metrics.registry.register(DiskCollector(self._resources.folders))
        self._dispatcher = Dispatcher(metrics, settings.max_images)
        self._lane = Work("finishing", None, 1, 2 * settings.max_images)

    def register(self, server: grpc.aio.Server) -> tuple[str, ...]:
        """Add both servicers."""
        chosen = self._settings
        defaults = Defaults(chosen.default_model, chosen.default_upscaler, chosen.default_ranker)
        servicer = DiffusionServicer(self._manager, self._rankers, self._dispatcher, self._lane, defaults)
        add_DiffusionServiceServicer_to_server(servicer, server)
        add_ModelServiceServicer_to_server(
            ModelServicer(self._manager, NAME, self._exporter, self._resources), server
        )
        return (*entry(NAME).grpc_services, MODEL_SERVICE)

    async def start(self) -> None:
        """Load what is to be there at once."""
        self._dispatcher.start()
        await self._manager.start(self._settings.preload)
        await self._rankers.start()

    async def close(self) -> None:
        """End the calls, then let go of the models."""
        await self._dispatcher.close()
        await self._lane.close()
        await self._rankers.close()
        await self._manager.close()


def _placement(settings: DiffusionSettings) -> Placement:
    return Placement(
        device=settings.device,
        precision=settings.precision,
        offload=settings.offload,
        ranks=settings.adapter_ranks,
        rows=settings.rows,
        exact=settings.exact or None,
    )


async def main() -> None:
    """Read the settings and serve until told to stop."""
    metrics = Metrics(NAME)
    settings = from_environment(DiffusionSettings, os.environ)
    models = from_environment(StoreSettings, os.environ)
    process = DiffusionProcess(settings, models, metrics, own_threads(len(SERVICES)))
    await serve(process, server_settings(entry(NAME), os.environ), metrics)


if __name__ == "__main__":
    sys.exit(run(NAME, main, len(SERVICES)))
