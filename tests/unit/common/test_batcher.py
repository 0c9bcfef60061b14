"""The batcher: every caller gets its own result or its own error, and overload is honest."""

import asyncio

import pytest

from services.common.batcher import Batcher, BatchMismatch, Limits, Served
from services.common.errors import Code, Reason, ServiceError, unsupported
from services.common.metrics import Metrics
from tests.unit.common.gate import Gate, closing, settle, value


async def test_each_caller_gets_the_result_of_its_own_item():
    async with closing(Batcher(Gate(), name="t")) as batcher:
        served = await asyncio.gather(*(batcher.submit(n) for n in range(100)))
    assert [one.value for one in served] == [n * 10 for n in range(100)]


async def test_calls_of_one_round_share_a_batch_within_the_row_limit():
    gate = Gate()
    async with closing(Batcher(gate, Limits(max_rows=8), name="t")) as batcher:
        served = await asyncio.gather(*(batcher.submit(n) for n in range(20)))
    assert [len(batch) for batch in gate.batches] == [8, 8, 4]
    assert [one.batch_rows for one in served] == [8] * 16 + [4] * 4
    assert all(one.queue_ms >= 0 and one.compute_ms >= 0 for one in served)


async def test_waiting_and_computing_are_told_apart():
    gate = Gate(shut=True)
    async with closing(Batcher(gate, Limits(max_rows=1), name="t")) as batcher:
        calls = [asyncio.ensure_future(batcher.submit(n)) for n in (1, 2)]
        await gate.until_entered()
        gate.open()
        first, second = await asyncio.gather(*calls)
    # The second was queued in the same round and ran after the first.
    assert second.queue_ms > first.compute_ms > 0
    assert second.queue_ms > first.queue_ms


async def test_a_lone_caller_waits_for_company_only_when_told_to():
    gate = Gate()
    async with closing(Batcher(gate, Limits(max_rows=2, max_wait=30), name="t")) as batcher:
        first = asyncio.ensure_future(batcher.submit(1))
        await settle()
        assert gate.batches == []
        second = await batcher.submit(2)  # the batch is full: no more waiting
        assert (await first).batch_rows == second.batch_rows == 2


async def test_a_wait_ends_by_itself():
    async with closing(Batcher(Gate(), Limits(max_rows=8, max_wait=0.02), name="t")) as batcher:
        served = await batcher.submit(1)
    assert served.batch_rows == 1


async def test_what_could_never_fit_is_refused_at_once():
    limits = Limits(max_queue=2, max_cost=10)
    async with closing(Batcher(Gate(), limits, name="t", cost=float)) as batcher:
        for call, text in (
            (batcher.submit(11), "cost 11, at most 10"),
            (batcher.submit_many([1] * 3), "3 rows"),
        ):
            with pytest.raises(ServiceError, match=text) as caught:
                await call
            assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, Reason.LIMIT_REACHED)
        assert (await batcher.submit(1)).value == 10


async def test_an_exception_reaches_exactly_the_callers_of_its_batch():
    def fail_on_three(items):
        if 3 in items:
            raise unsupported("no threes")
        return items

    async with closing(Batcher(fail_on_three, Limits(max_rows=2), name="t")) as batcher:
        results = await asyncio.gather(*(batcher.submit(n) for n in range(6)), return_exceptions=True)
    assert [r.value if isinstance(r, Served) else str(r) for r in results] == [
        0,
        1,
        "no threes",
        "no threes",
        4,
        5,
    ]


async def test_an_exception_in_place_of_a_result_reaches_one_caller():
    def spare_the_rest(items):
        return [unsupported("odd") if n % 2 else n for n in items]

    async with closing(Batcher(spare_the_rest, name="t")) as batcher:
        results = await asyncio.gather(*(batcher.submit(n) for n in range(4)), return_exceptions=True)
    assert [r.value if isinstance(r, Served) else str(r) for r in results] == [0, "odd", 2, "odd"]


@pytest.mark.parametrize("answer", [lambda items: items[1:], lambda items: [*items, 1], lambda items: []])
async def test_another_number_of_results_is_a_bug_for_all(answer, caplog):
    async with closing(Batcher(answer, name="t")) as batcher:
        results = await asyncio.gather(*(batcher.submit(n) for n in range(3)), return_exceptions=True)
    assert [type(r) for r in results] == [BatchMismatch] * 3
    assert "3 items in" in caplog.text


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), KeyboardInterrupt(), TimeoutError("own")])
async def test_no_kind_of_exception_hangs_the_callers(error):
    def fail(items):
        raise error

    async with closing(Batcher(fail, name="t")) as batcher:
        with pytest.raises(Exception, match=r"batch|own"):
            await batcher.submit(1)
        with pytest.raises(Exception, match=r"batch|own"):
            await batcher.submit(2)


async def test_no_results_at_all_is_an_error_for_all():
    async with closing(Batcher(lambda items: None, name="t")) as batcher:
        with pytest.raises(TypeError):
            await batcher.submit(1)


async def test_a_full_queue_refuses_with_the_time_it_needs():
    metrics = Metrics("test")
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=1, max_queue=2), name="embed", metrics=metrics)
    running = asyncio.ensure_future(batcher.submit(0))
    await gate.until_entered()
    waiting = [asyncio.ensure_future(batcher.submit(n)) for n in (1, 2)]
    await settle()
    assert value(metrics, "pequod_queue_depth") == batcher.depth == 2
    with pytest.raises(ServiceError, match="embed: 2 rows are waiting") as caught:
        await batcher.submit(3)
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.OVERLOADED)
    assert caught.value.retry_after == 1.0  # nothing was measured yet
    gate.open()
    await asyncio.gather(running, *waiting)
    assert value(metrics, "pequod_queue_depth") == 0
    await batcher.close()


async def test_the_retry_hint_follows_the_measured_rate():
    gate = Gate()
    batcher = Batcher(gate, Limits(max_rows=1, max_queue=4), name="t", cost=lambda n: 1 + n)
    served = await batcher.submit(0)  # cost 1
    assert gate.entered.acquire(timeout=60)
    gate.shut()
    running = asyncio.ensure_future(batcher.submit(10))
    await gate.until_entered()
    waiting = [asyncio.ensure_future(batcher.submit(n)) for n in (20, 30, 40, 50)]
    await settle()
    with pytest.raises(ServiceError) as caught:
        await batcher.submit(9)
    backlog = 11 + 21 + 31 + 41 + 51
    assert caught.value.retry_after == pytest.approx(max(0.01, backlog * served.compute_ms / 1000))
    gate.open()
    await asyncio.gather(running, *waiting)
    await batcher.close()


async def test_many_items_are_admitted_together_or_not_at_all():
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=4, max_queue=4), name="t")
    running = asyncio.ensure_future(batcher.submit(0))
    await gate.until_entered()
    many = asyncio.ensure_future(batcher.submit_many([1, 2, 3]))
    await settle()
    with pytest.raises(ServiceError, match="3 rows are waiting"):
        await batcher.submit_many([4, 5])
    assert batcher.depth == 3
    gate.open()
    assert [one.value for one in await many] == [10, 20, 30]
    assert await batcher.submit_many([]) == []
    await running
    await batcher.close()


async def test_one_failure_among_many_leaves_no_unread_error():
    def fail_all(items):
        return [unsupported(str(n)) for n in items]

    async with closing(Batcher(fail_all, name="t")) as batcher:
        with pytest.raises(ServiceError, match="0"):
            await batcher.submit_many([0, 1, 2])  # the others' errors would warn when collected


async def test_metrics_are_recorded():
    metrics = Metrics("test")
    async with closing(Batcher(Gate(), Limits(max_rows=4), name="t", metrics=metrics)) as batcher:
        await asyncio.gather(*(batcher.submit(n) for n in range(6)))
    assert value(metrics, "pequod_batch_rows_count") == 2
    assert value(metrics, "pequod_batch_rows_sum") == 6
    assert value(metrics, "pequod_queue_seconds_count") == 6
    assert value(metrics, "pequod_queue_depth") == 0


async def test_workers_run_batches_at_the_same_time_and_no_more_than_asked():
    gate = Gate(shut=True)
    batcher = Batcher(gate, Limits(max_rows=1, workers=2), name="t")
    calls = [asyncio.ensure_future(batcher.submit(n)) for n in range(4)]
    await gate.until_entered()
    await gate.until_entered()
    await settle()
    assert sorted(gate.batches) == [[0], [1]]
    gate.open()
    assert [(await call).value for call in calls] == [0, 10, 20, 30]
    await batcher.close()
