"""How batches are chosen: within every limit, the oldest first, nothing lost or doubled."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.batch_queue import BatchQueue, Entry
from services.common.batcher import Batcher, Limits
from tests.unit.common.gate import Gate, closing


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


async def test_what_costs_more_than_the_budget_may_have_a_batch_of_its_own():
    gate = Gate(shut=True)
    limits = Limits(max_rows=100, max_cost=10, oversized_alone=True, padded=True)
    async with closing(Batcher(gate, limits, name="t", cost=float)) as batcher:
        calls = asyncio.gather(*(batcher.submit(n) for n in (25, 3, 2, 40)))
        gate.open()
        await calls
    assert gate.batches == [[25], [3, 2], [40]]


async def test_order_puts_neighbours_together_and_starves_nobody():
    gate = Gate()
    async with closing(Batcher(gate, Limits(max_rows=3), name="t", order=float)) as batcher:
        await asyncio.gather(*(batcher.submit(n) for n in (50, 1, 2, 51, 3, 100, 49)))
    assert gate.batches == [[50, 51, 49], [1, 2, 3], [100]]


@pytest.mark.parametrize(
    "bad", [{"max_rows": 0}, {"max_queue": 0}, {"workers": 0}, {"max_wait": -1}, {"max_cost": 0}]
)
def test_limits_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Limits(**bad)


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


@settings(max_examples=60)
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
