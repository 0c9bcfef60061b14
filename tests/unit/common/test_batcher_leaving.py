"""Callers that leave, deadlines that pass, batchers that close."""

import asyncio
import threading
import time

import pytest

from services.common.batcher import Batcher, Limits
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from tests.unit.common.gate import Gate, closing, settle, value


async def test_a_caller_that_leaves_frees_its_place_and_its_work_is_not_done():
    metrics = Metrics("test")
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=1, max_queue=1), name="t", metrics=metrics)
    running = asyncio.ensure_future(batcher.submit(0))
    await gate.until_entered()
    leaving = asyncio.ensure_future(batcher.submit(1))
    await settle()
    leaving.cancel()
    await settle()
    assert batcher.depth == 0
    staying = asyncio.ensure_future(batcher.submit(2))  # the place is free
    await settle()
    gate.open()
    assert (await staying).value == 20
    await running
    assert gate.batches == [[0], [2]]
    assert value(metrics, "pequod_queue_dropped_total", reason="caller_left") == 1
    await batcher.close()


async def test_a_caller_that_leaves_a_running_batch_disturbs_nobody():
    gate = Gate(shut=True)
    batcher = Batcher(gate, name="t")
    calls = [asyncio.ensure_future(batcher.submit(n)) for n in range(3)]
    await gate.until_entered()
    calls[1].cancel()
    await settle()
    gate.open()
    assert [(await calls[n]).value for n in (0, 2)] == [0, 20]
    assert calls[1].cancelled()
    await batcher.close()


async def test_a_deadline_ends_the_wait_while_another_batch_runs():
    metrics = Metrics("test")
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=1), name="t", metrics=metrics)
    running = asyncio.ensure_future(batcher.submit(0))
    await gate.until_entered()
    with pytest.raises(ServiceError) as caught:
        await batcher.submit(1, deadline=time.monotonic() + 0.02)
    assert (caught.value.code, caught.value.reason) == (Code.DEADLINE_EXCEEDED, Reason.DEADLINE)
    assert batcher.depth == 0
    gate.open()
    await running
    await batcher.close()
    assert gate.batches == [[0]]
    assert value(metrics, "pequod_queue_dropped_total", reason="deadline") == 1


async def test_a_deadline_that_passed_is_refused_before_the_queue():
    gate = Gate()
    async with closing(Batcher(gate, name="t")) as batcher:
        with pytest.raises(ServiceError, match="deadline"):
            await batcher.submit(1, deadline=time.monotonic())
        assert (await batcher.submit(2, deadline=time.monotonic() + 60)).value == 20
    assert gate.batches == [[2]]


async def test_late_work_is_dropped_even_when_the_loop_was_too_busy_for_timers():
    gate = Gate()
    async with closing(Batcher(gate, name="t")) as batcher:
        late = asyncio.ensure_future(batcher.submit(1, deadline=time.monotonic() + 0.01))
        fine = asyncio.ensure_future(batcher.submit(2))
        asyncio.get_running_loop().call_soon(time.sleep, 0.03)  # both are queued after this
        await asyncio.sleep(0)
        assert (await fine).value == 20
        with pytest.raises(ServiceError, match="deadline"):
            await late


async def test_a_deadline_during_the_run_reaches_the_caller_at_once():
    gate = Gate(shut=True)
    batcher = Batcher(gate, name="t")
    late = asyncio.ensure_future(batcher.submit(1, deadline=time.monotonic() + 0.05))
    fine = asyncio.ensure_future(batcher.submit(2))
    await gate.until_entered()
    with pytest.raises(ServiceError, match="deadline"):
        await late
    gate.open()
    assert (await fine).value == 20
    await batcher.close()


async def test_close_drains_at_once_and_refuses_newcomers():
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=2, max_wait=60), name="drained")
    calls = [asyncio.ensure_future(batcher.submit(n)) for n in range(3)]
    await gate.until_entered()
    closed = asyncio.ensure_future(batcher.close())
    await settle()
    assert not closed.done()
    with pytest.raises(ServiceError) as caught:
        await batcher.submit(9)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.DRAINING)
    gate.open()
    await closed  # the third item does not wait a minute for company
    assert [call.result().value for call in calls] == [0, 10, 20]
    assert not [t for t in threading.enumerate() if t.name.startswith("drained")]
    await batcher.close()


async def test_close_can_refuse_what_waits():
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=1), name="t")
    running, waiting = (asyncio.ensure_future(batcher.submit(n)) for n in range(2))
    await gate.until_entered()
    closed = asyncio.ensure_future(batcher.close(drain=False))
    with pytest.raises(ServiceError, match="shutting down"):
        await waiting
    gate.open()
    assert (await running).value == 0
    await closed
    assert gate.batches == [[0]]


async def test_an_impatient_close_leaves_running_work_to_end_alone():
    gate = Gate(shut=True)
    batcher = Batcher(gate, name="t")
    running = asyncio.ensure_future(batcher.submit(1))
    await gate.until_entered()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await batcher.close()
    gate.open()
    assert (await running).value == 10
    await batcher.close()
