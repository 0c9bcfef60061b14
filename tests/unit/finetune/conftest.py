"""Databases for tests: each test that asks for one runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib

import pytest

from services.finetune.database.database import Database
from tests.unit.finetune import checks, parts, postgres


@pytest.fixture(scope="session")
def postgres_server():
    """URL of a PostgreSQL server; tests are skipped where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgres.server())
        except postgres.NoServer as reason:
            pytest.skip(f"no PostgreSQL: {reason}")
        yield url


@pytest.fixture
def checked(tmp_path):
    """Checks files given as a mapping from paths to bytes."""
    return checks.Checker(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/finetune.db"
        return
    with postgres.database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
def database(database_url):
    """An empty database at the newest schema."""
    opened = Database.open(database_url)
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
