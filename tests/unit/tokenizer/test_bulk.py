"""Work in pieces: results in order, a bounded number of inputs at work, errors and leaving end everything."""

import asyncio

import pytest

from services.tokenizer.bulk import AT_WORK, PIECE, in_pieces, once


class Source:
    """An endless stream of messages of ``size`` inputs that counts what was read from it."""

    def __init__(self, size):
        self.size = size
        self.read = 0

    async def messages(self):
        while True:
            self.read += self.size
            yield range(self.size)


async def settle():
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_results_come_in_the_order_of_the_inputs():
    async def work(first, inputs):
        await asyncio.sleep(0.01 if first == 0 else 0)  # the first piece is the slowest
        return first, len(inputs)

    size = 2 * PIECE + 3
    found = [result async for result in in_pieces(once(range(size)), work)]
    assert found == [(0, PIECE), (PIECE, PIECE), (2 * PIECE, 3)]


@pytest.mark.parametrize("size", [1, 50, PIECE, 3 * PIECE])
async def test_no_more_is_read_than_there_is_room_for(size):
    source, gate, running = Source(size), asyncio.Event(), 0

    async def work(first, inputs):
        nonlocal running
        running += len(inputs)
        await gate.wait()
        return len(inputs)

    results = in_pieces(source.messages(), work)
    first = asyncio.ensure_future(anext(results))
    while running < AT_WORK - size:
        before = running
        await settle()
        if running == before:
            break
    await settle()
    assert AT_WORK - size <= running <= AT_WORK
    assert source.read <= AT_WORK + size  # at most one message more waits for its place
    gate.set()
    await first
    await results.aclose()


async def test_an_error_of_the_work_ends_everything():
    async def work(first, inputs):
        if first:
            raise ValueError("the second piece")
        return first

    results = in_pieces(once(range(2 * PIECE)), work)
    assert await anext(results) == 0
    with pytest.raises(ValueError, match="second piece"):
        await anext(results)


async def test_an_error_of_the_source_is_raised_after_what_came_before():
    async def source():
        yield [1]
        raise ValueError("the source")

    async def work(first, inputs):
        return list(inputs)

    results = in_pieces(source(), work)
    assert await anext(results) == [1]
    with pytest.raises(ValueError, match="the source"):
        await anext(results)


async def test_leaving_cancels_what_runs():
    cancelled = []

    async def work(first, inputs):
        if first == 0:
            return first
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(first)
            raise

    results = in_pieces(once(range(2 * PIECE)), work)
    await anext(results)
    await settle()
    await results.aclose()
    assert cancelled == [PIECE]
