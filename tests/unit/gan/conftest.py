"""Tiny GANs, exported once for all tests of this folder."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import pytest_asyncio

from tests.unit.gan.gan_models import gan_service, home_of


@pytest.fixture(scope="session")
def gan_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for ``gan_service``: tiny-gan with all companions, plain (a DCGAN) and bare without any."""
    return shutil.copytree(home_of(tmp_path_factory), tmp_path_factory.mktemp("gan"), dirs_exist_ok=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(gan_home):
    async with gan_service(gan_home, preload=("tiny-gan", "plain", "bare"), max_projections=2) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def stub(service):
    """A stub on a service with all its places free: the projection of an earlier test, whose caller is gone,
    gives up its own a step later."""
    stub, metrics = service
    async with asyncio.timeout(30):
        while metrics.registry.get_sample_value("pequod_projections_running", {"service": "gan"}):
            await asyncio.sleep(0.01)
    return stub
