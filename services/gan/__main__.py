"""Runs the GAN service: ``python -m services.gan``."""

from __future__ import annotations

import os
import sys

import grpc.aio

from pequod.gan.v1 import add_GanServiceServicer_to_server
from pequod.model.v1 import add_ModelServiceServicer_to_server
from services.common.catalogue import MODEL_SERVICE, SERVICES, entry
from services.common.disks import DiskCollector
from services.common.export.exporter import Graphs, StoreExporter
from services.common.metrics import Metrics
from services.common.residency import ModelManager
from services.common.residency.contract import Loader, M
from services.common.rpc.model_servicer import ModelServicer
from services.common.rpc.process import run
from services.common.rpc.resources import Resources
from services.common.rpc.server import serve, server_settings
from services.common.settings import from_environment
from services.common.store.settings import StoreSettings
from services.common.text_image.exporting import graphs_of_embedder
from services.common.threads import own_threads
from services.common.work import Work
from services.gan.loading.exporting import graphs_of, graphs_of_upscaler
from services.gan.loading.helpers import EyesLoader, UpscalerLoader
from services.gan.loading.loader import GanLoader, opener
from services.gan.loading.models import Defaults, Models
from services.gan.servicer import GanServicer
from services.gan.serving.animating import Animator
from services.gan.serving.judging import Judging
from services.gan.serving.places import Places
from services.gan.serving.projecting import Projections
from services.gan.serving.queues import Queues
from services.gan.serving.rooms import Rooms
from services.gan.serving.studio import Studio
from services.gan.settings import GanSettings

NAME = "gan"


class GanProcess:
    """The parts of the service put together; ``services.common.rpc.server`` gives it its life."""

    def __init__(self, settings: GanSettings, models: StoreSettings, metrics: Metrics, threads: int) -> None:
        """``threads``: of one call of a network."""
        self._settings = settings
        store, open_graph = models.open(), opener(settings.device, threads)

        def exporter(graphs: Graphs) -> StoreExporter:
            return StoreExporter(models.cache, graphs, kept=(models.shipped,))

        def manager(loader: Loader[M], measured: Metrics) -> ModelManager[M]:
            return ModelManager(store, loader, measured, models.memory_bytes, models.load_wait)

        self._exporter = exporter(graphs_of)
        self._manager = manager(GanLoader(self._exporter, open_graph, settings.rows), metrics)
        # Other services' models; their metrics are those services' to report.
        self._upscalers = manager(UpscalerLoader(exporter(graphs_of_upscaler), open_graph), Metrics(NAME))
        self._eyes = manager(EyesLoader(exporter(graphs_of_embedder), open_graph), Metrics(NAME))
        self._resources = Resources([self._manager, self._upscalers, self._eyes], models)
        metrics.registry.register(DiskCollector(self._resources.folders))
        defaults = Defaults(settings.default_model, settings.default_upscaler, settings.feature_model)
        self._models = Models(self._manager, self._upscalers, self._eyes, defaults)
        self._finishing = Work("finishing", None, 1, 2 * settings.max_images)
        self._animating = Work("animating", None, 1, settings.max_animations)
        self._projecting = Work("projecting", None, 1, settings.max_projections)
        self._rooms = self._built(metrics)

    def _built(self, metrics: Metrics) -> Rooms:
        chosen = self._settings
        queues = Queues(metrics, chosen.rows, chosen.max_images)
        return Rooms(
            studio=Studio(queues, self._finishing, metrics),
            lane=self._finishing,
            animator=Animator(self._animating, Places("moving pictures", chosen.max_animations)),
            judging=Judging(queues),
            projections=Projections(self._projecting, Places("projections", chosen.max_projections), metrics),
        )

    def register(self, server: grpc.aio.Server) -> tuple[str, ...]:
        """Add both servicers."""
        add_GanServiceServicer_to_server(GanServicer(self._models, self._rooms), server)
        add_ModelServiceServicer_to_server(
            ModelServicer(self._manager, NAME, self._exporter, self._resources), server
        )
        return (*entry(NAME).grpc_services, MODEL_SERVICE)

    async def start(self) -> None:
        """Load what is to be there at once."""
        await self._upscalers.start()
        await self._eyes.start()
        await self._manager.start(self._settings.preload)

    async def close(self) -> None:
        """End the work, then let go of the models."""
        for lane in (self._projecting, self._animating, self._finishing):
            await lane.close()
        for manager in (self._eyes, self._upscalers, self._manager):
            await manager.close()


async def main() -> None:
    """Read the settings and serve until told to stop."""
    metrics = Metrics(NAME)
    settings = from_environment(GanSettings, os.environ)
    models = from_environment(StoreSettings, os.environ)
    process = GanProcess(settings, models, metrics, own_threads(len(SERVICES)))
    await serve(process, server_settings(entry(NAME), os.environ), metrics)


if __name__ == "__main__":
    sys.exit(run(NAME, main, len(SERVICES)))
