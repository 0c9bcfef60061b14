"""Connections that are held for nothing: each ends, and others go on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fakes import GENERATE, FakeBackend, backends, gateway

from gateway.routes import body
from services.common.rpc import http_protocol

POST = f"POST {GENERATE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture
async def door():
    async with backends(FakeBackend()) as (fake,), gateway(sampler=[fake]) as started:
        yield started


@contextlib.asynccontextmanager
async def connected(door):
    """A raw connection to the HTTP door: (reader, writer)."""
    host, _, port = door.base.partition("//")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def trickle(writer, text):
    """A byte now and then, until the other side has had enough."""
    with contextlib.suppress(OSError):
        for letter in text:
            writer.write(letter.encode())
            await writer.drain()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("begun", ["", POST, POST + "x-"])
async def test_headers_that_do_not_end_end_the_connection(door, monkeypatch, begun):
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    async with connected(door) as (reader, writer):
        writer.write(begun.encode())
        slow = asyncio.create_task(trickle(writer, ("" if begun else "POST /") + "a" * 1000))
        answer = await asyncio.wait_for(reader.read(), 20)
        slow.cancel()
    assert b" 408 " in answer
    assert (await door.http.post(GENERATE, json={})).status_code == 200


async def test_a_second_request_on_a_connection_has_a_clock_too(door, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.3)
    async with connected(door) as (reader, writer):
        writer.write(f"{POST}content-length: 2\r\n\r\n{{}}".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"POST /")
        slow = asyncio.create_task(trickle(writer, "a" * 1000))
        answer = await asyncio.wait_for(reader.read(), 20)
        slow.cancel()
    assert b" 408 " in answer


async def test_a_flood_of_headers_is_refused(door):
    async with connected(door) as (reader, writer):
        writer.write(POST.encode())
        with contextlib.suppress(OSError):
            for number in range(200_000):
                writer.write(f"x-{number}: {'a' * 100}\r\n".encode())
                await writer.drain()
        with contextlib.suppress(ConnectionError):  # what it had sent may be answered by a reset
            assert b" 431 " in await asyncio.wait_for(reader.read(), 20)
    assert (await door.http.post(GENERATE, json={})).status_code == 200


async def test_headers_within_the_limit_pass(door):
    reply = await door.http.post(GENERATE, json={}, headers={"x-large": "a" * 30_000})
    assert reply.status_code == 200


async def test_a_body_that_trickles_is_given_up(door, monkeypatch):
    monkeypatch.setattr(body, "BODY_SECONDS", 0.3)
    async with connected(door) as (reader, writer):
        writer.write(f"{POST}content-length: 1000\r\n\r\n".encode())
        slow = asyncio.create_task(trickle(writer, "{" * 1000))
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)
        slow.cancel()
    assert b" 504 " in answer


async def test_hundreds_of_idle_connections_hold_nobody_up(door):
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(300):
            await stack.enter_async_context(connected(door))
        assert (await door.http.post(GENERATE, json={})).status_code == 200
        assert await door.stub(GENERATE)(b"x") == b"x"
