"""The fine-tune service for tests, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from services.finetune.database.settings import open_database
from tests.unit.finetune import checks, parts


@pytest.fixture
def checked(tmp_path):
    """Checks files given as a mapping from paths to bytes."""
    return checks.Checker(tmp_path)


@pytest.fixture
def database(database_url):
    """An empty database at the newest schema."""
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
async def service(database_url, tmp_path):
    """(stub, process) of a running service, on each database."""
    async with parts.running(database_url, tmp_path) as started:
        yield started


@pytest.fixture
async def stub(service):
    """DatasetService, on each database."""
    return service[0]


@pytest.fixture
async def one_stub(tmp_path):
    """DatasetService on SQLite: for what never reaches the database."""
    async with parts.running(f"sqlite:///{tmp_path}/finetune.db", tmp_path) as (stub, _):
        yield stub
