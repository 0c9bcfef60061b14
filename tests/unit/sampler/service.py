"""A running sampler for tests of language models that lie in directories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from services.common.metrics import Metrics
from services.common.store.settings import StoreSettings
from services.sampler.__main__ import SamplerProcess
from services.sampler.settings import SamplerSettings
from tests.unit.serving import serving


@asynccontextmanager
async def sampler_service(
    home: Path, cache: Path, settings: SamplerSettings, *roots: Path
) -> AsyncIterator[tuple[grpc.aio.Channel, Metrics]]:
    """A channel to it, and its metrics. ``roots``: folders whose directories it may read."""
    metrics = Metrics("sampler")
    stores = StoreSettings(
        shipped=home, user=str(home / "user"), cache=cache, load_wait=120, file_roots=roots
    )
    async with serving(SamplerProcess(settings, stores, metrics), metrics) as channel:
        yield channel, metrics
