"""How an HTTP port ends: at once where nobody is connected, else when what was asked has been answered."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from services.common.rpc.side_port import http_serving


@pytest.fixture
def asked():
    """Set once the application answers a request."""
    return asyncio.Event()


@pytest.fixture
def app(asked):
    async def slow(_):
        asked.set()
        await asyncio.sleep(0.3)
        return PlainTextResponse("whole")

    async def quick(_):
        return PlainTextResponse("quick")

    return Starlette(routes=[Route("/slow", slow), Route("/quick", quick)])


async def connected(port):
    """Reader and writer of a connection; the port may not listen yet."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)


async def test_nobody_is_waited_for_where_nobody_is_connected(app, monkeypatch):
    waits = []
    sleep = asyncio.sleep

    async def noted(seconds, *rest):
        waits.append(seconds)
        await sleep(seconds, *rest)

    async with http_serving(app, "127.0.0.1", 0) as port:
        await sleep(0.1)  # it listens by then, or ends as well
        monkeypatch.setattr(asyncio, "sleep", noted)
    assert not any(waits), waits
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_request_under_way_is_answered(app, asked):
    async with httpx.AsyncClient() as http:
        async with http_serving(app, "127.0.0.1", 0) as port:
            answer = asyncio.create_task(http.get(f"http://127.0.0.1:{port}/slow"))
            await asked.wait()
        assert (await answer).text == "whole"


@pytest.mark.parametrize("steps", range(1, 4))
async def test_who_was_accepted_just_before_is_answered(app, steps):
    """The port ends ``steps`` of the loop after somebody came, before the application hears of it."""
    async with http_serving(app, "127.0.0.1", 0) as port:
        (await connected(port))[1].close()  # it listens now
        raw = socket.create_connection(("127.0.0.1", port))
        raw.sendall(b"GET /quick HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        for _ in range(steps):
            await asyncio.sleep(0)
    raw.settimeout(30)
    answer = b"".join(iter(lambda: raw.recv(4096), b""))
    raw.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert answer.endswith(b"quick")
