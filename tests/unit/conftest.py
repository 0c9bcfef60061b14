"""Databases for tests: each test that asks for one runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib

import pytest

from tests.unit import postgres


@pytest.fixture(scope="session")
def postgres_server():
    """URL of a PostgreSQL server; tests are skipped where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgres.server())
        except postgres.NoServer as reason:
            pytest.skip(f"no PostgreSQL: {reason}")
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/pequod.db"
        return
    with postgres.database(request.getfixturevalue("postgres_server")) as url:
        yield url
