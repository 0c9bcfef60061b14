"""The batcher: nothing lost or doubled, no limit exceeded, every error to the caller it belongs to."""

import asyncio
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.batch_queue import BatchQueue, Entry
from services.common.batcher import Batcher, BatchMismatch, Limits, Served
from services.common.errors import Code, Reason, ServiceError, unsupported
from services.common.metrics import Metrics


class Gate:
    """A batch function that notes its batches and holds them while the gate is shut."""

    def __init__(self, *, shut=False, answer=lambda items: [item * 10 for item in items]):
        self.batches = []
        self._answer = answer
        self._open = threading.Event()
        self.entered = threading.Semaphore(0)
        if not shut:
            self.open()

    def open(self):
        self._open.set()

    def shut(self):
        self._open.clear()

    async def until_entered(self):
        await asyncio.to_thread(self.entered.acquire)

    def __call__(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self._open.wait(60)
        return self._answer(items)


async def settle():
    """Let the loop run everything that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, {"service": "test", **labels}) or 0.0


@asynccontextmanager
async def closing(batcher):
    try:
        yield batcher
    finally:
        await batcher.close()


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


async def test_a_batch_keeps_to_its_cost_budget():
    gate = Gate(shut=True)
    limits = Limits(max_rows=100, max_cost=10)
    async with closing(Batcher(gate, limits, name="t", cost=float)) as batcher:
        calls = asyncio.gather(*(batcher.submit(n) for n in (4, 5, 2, 9, 1, 10)))
        gate.open()
        await calls
    assert gate.batches == [[4, 5], [2], [9, 1], [10]]


async def test_a_padded_budget_counts_the_longest_row():
    gate = Gate()
    limits = Limits(max_rows=100, max_cost=12, padded=True)
    async with closing(Batcher(gate, limits, name="t", cost=float)) as batcher:
        await asyncio.gather(*(batcher.submit(n) for n in (4, 3, 4, 1, 6, 6)))
    assert gate.batches == [[4, 3, 4], [1, 6], [6]]


async def test_order_puts_neighbours_together_and_starves_nobody():
    gate = Gate()
    async with closing(Batcher(gate, Limits(max_rows=3), name="t", order=float)) as batcher:
        await asyncio.gather(*(batcher.submit(n) for n in (50, 1, 2, 51, 3, 100, 49)))
    assert gate.batches == [[50, 51, 49], [1, 2, 3], [100]]


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


@pytest.mark.parametrize(
    "bad", [{"max_rows": 0}, {"max_queue": 0}, {"workers": 0}, {"max_wait": -1}, {"max_cost": 0}]
)
def test_limits_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Limits(**bad)


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


async def test_one_failure_among_many_leaves_no_unread_error():
    def fail_all(items):
        return [unsupported(str(n)) for n in items]

    async with closing(Batcher(fail_all, name="t")) as batcher:
        with pytest.raises(ServiceError, match="0"):
            await batcher.submit_many([0, 1, 2])  # the others' errors would warn when collected


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


plans = st.lists(
    st.tuples(st.integers(1, 20), st.sampled_from(["stay", "leave now", "leave soon"]), st.booleans()),
    max_size=60,
)
all_limits = st.builds(
    Limits,
    max_rows=st.integers(1, 9),
    max_cost=st.none() | st.integers(20, 50),
    padded=st.booleans(),
    workers=st.integers(1, 3),
    max_wait=st.sampled_from([0.0, 0.001]),
)


async def play(plan, batcher):
    """Submit items (serial, size); cancel the callers that leave; the ended calls."""
    calls = []
    for serial, (size, behaviour, pause) in enumerate(plan):
        calls.append(asyncio.ensure_future(batcher.submit((serial, size))))
        if behaviour != "stay":
            delay = 0 if behaviour == "leave now" else 0.0005
            asyncio.get_running_loop().call_later(delay, calls[-1].cancel)
        if pause:
            await asyncio.sleep(0)
    await asyncio.gather(*calls, return_exceptions=True)
    await batcher.close()
    return calls


def size_of(item):
    return item[1]


@settings(max_examples=60, deadline=None)
@given(plan=plans, limits=all_limits, order=st.sampled_from([None, size_of]))
def test_nothing_is_lost_or_doubled_whoever_leaves(plan, limits, order):
    batches = []

    def function(items):
        batches.append(items)
        return [("answer", serial) for serial, _ in items]

    async def run():
        batcher = Batcher(function, limits, name="t", cost=size_of, order=order)
        calls = await play(plan, batcher)
        assert batcher.depth == 0
        return calls

    calls = asyncio.run(run())
    ran = Counter(serial for batch in batches for serial, _ in batch)
    assert set(ran.values()) <= {1}
    for serial, ((_, behaviour, _), call) in enumerate(zip(plan, calls, strict=True)):
        assert behaviour != "stay" or not call.cancelled()
        if not call.cancelled():
            assert call.result().value == ("answer", serial)
            assert ran[serial] == 1
    for batch in batches:
        assert_within(limits, [size for _, size in batch])


def assert_within(limits, sizes):
    assert 1 <= len(sizes) <= limits.max_rows
    cost = len(sizes) * max(sizes) if limits.padded else sum(sizes)
    assert limits.max_cost is None or cost <= limits.max_cost


@given(keys=st.lists(st.integers(0, 100), min_size=1, max_size=60), max_rows=st.integers(1, 8))
def test_every_ordered_batch_serves_the_one_that_waited_longest(keys, max_rows):
    queue = BatchQueue(Limits(max_rows=max_rows), ordered=True)
    queue.add(Entry(n, 1.0, float(key), 0.0, None, None) for n, key in enumerate(keys))
    seen = []
    while queue:
        oldest = queue.oldest()
        batch = queue.take()
        assert batch[0] is oldest
        seen += [entry.item for entry in batch]
    assert sorted(seen) == list(range(len(keys)))
    assert queue.cost == 0
