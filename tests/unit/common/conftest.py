"""What several files of this folder ask for."""

import asyncio

import pytest

from tests.unit.common.toys import Bench


@pytest.fixture
async def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    for gate in bench.loader.hold.values():
        gate.set()
    for manager in bench.managers:
        await manager.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bench.loader.living == 0
