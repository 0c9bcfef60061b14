"""Runs the tokenizer and embedding service: ``python -m services.tokenizer``."""

from __future__ import annotations

import os
import sys

import grpc.aio

from pequod.model.v1 import add_ModelServiceServicer_to_server
from pequod.tokenizer.v1 import (
    add_EmbeddingServiceServicer_to_server,
    add_TokenizerServiceServicer_to_server,
)
from services.common.catalogue import MODEL_SERVICE, SERVICES, entry
from services.common.disks import DiskCollector
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.metrics import Metrics
from services.common.residency import ModelManager
from services.common.rpc.model_servicer import ModelServicer
from services.common.rpc.process import run
from services.common.rpc.resources import Resources
from services.common.rpc.server import serve, server_settings
from services.common.settings import from_environment
from services.common.store.settings import StoreSettings
from services.common.threads import own_threads
from services.common.work import Work
from services.tokenizer import families
from services.tokenizer.embedding import Embedding
from services.tokenizer.embedding_servicer import EmbeddingServicer
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.loader import Model, ModelLoader, TokenizerLoader
from services.tokenizer.models import Models
from services.tokenizer.queues import RowQueues
from services.tokenizer.servicer import TokenizerServicer
from services.tokenizer.settings import TokenizerSettings
from services.tokenizer.tokens.encoding import Encoding

NAME = "tokenizer"


class TokenizerProcess:
    """The parts of the service put together; ``services.common.rpc.server`` gives it its life."""

    def __init__(
        self, settings: TokenizerSettings, models: StoreSettings, metrics: Metrics, threads: int
    ) -> None:
        """``threads``: for one engine step, and jobs that run beside it."""
        self._settings = settings
        store = models.open()
        self._exporter = StoreExporter(models.cache, family_graphs(families), kept=(models.shipped,))
        opener = EncoderOpener(store, self._exporter, Device(settings.device, threads))
        self._manager: ModelManager[Model] = ModelManager(
            store, ModelLoader(store, opener), metrics, models.memory_bytes, models.load_wait
        )
        # Of models that other services run; their metrics are those services' to report.
        self._tokenizers: ModelManager[Encoding] = ModelManager(
            store, TokenizerLoader(), Metrics(NAME), models.memory_bytes, models.load_wait
        )
        self._resources = Resources([self._manager, self._tokenizers], models)
        metrics.registry.register(DiskCollector(self._resources.folders))
        self._models = Models(self._manager, self._tokenizers, settings)
        self._work = Work(NAME, metrics, threads, settings.max_work)
        self._embedding = Embedding(self._work, RowQueues(metrics, settings), metrics)

    def register(self, server: grpc.aio.Server) -> tuple[str, ...]:
        """Add the three servicers."""
        tokens = TokenizerServicer(self._models, self._work)
        vectors = EmbeddingServicer(self._models, self._embedding, self._work)
        add_TokenizerServiceServicer_to_server(tokens, server)
        add_EmbeddingServiceServicer_to_server(vectors, server)
        add_ModelServiceServicer_to_server(
            ModelServicer(self._manager, NAME, self._exporter, self._resources), server
        )
        return (*entry(NAME).grpc_services, MODEL_SERVICE)

    async def start(self) -> None:
        """Load what is to be there at once."""
        await self._manager.start(self._settings.preload)
        await self._tokenizers.start()

    async def close(self) -> None:
        """End the jobs, then let go of the models."""
        await self._work.close()
        await self._tokenizers.close()
        await self._manager.close()


async def main() -> None:
    """Read the settings and serve until told to stop."""
    metrics = Metrics(NAME)
    settings = from_environment(TokenizerSettings, os.environ)
    models = from_environment(StoreSettings, os.environ)
    process = TokenizerProcess(settings, models, metrics, own_threads(len(SERVICES)))
    await serve(process, server_settings(entry(NAME), os.environ), metrics)


if __name__ == "__main__":
    sys.exit(run(NAME, main, len(SERVICES)))
