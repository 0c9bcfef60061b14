"""HTTP/1.1 connections that cannot be held for nothing: what comes before a body has a time and a size.

uvicorn bounds neither: a caller could keep a connection by sending a byte of a header now and then (the
attack called slow loris), or fill the memory with headers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""From the connection, or the first byte of a later request, to the end of its headers."""
MAX_HEAD_BYTES = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol over httptools, with a clock and a count on each request's head."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._head_bytes = 0
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock begins to run."""
        super().connection_made(transport)
        self._begin_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever ended it."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the end of the headers."""
        if self._in_head:
            self._head_bytes += len(data)
            self._begin_clock()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse("431 Request Header Fields Too Large", f"the limit is {MAX_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """The head is there; the body has a time and a size of its own."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_clock()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next request on this connection begins with a head again."""
        super().on_message_complete()
        self._in_head = True

    def _begin_clock(self) -> None:
        if self._clock is None:
            told = f"no request within {HEAD_SECONDS:g} s"
            self._clock = self.loop.call_later(HEAD_SECONDS, self._refuse, "408 Request Timeout", told)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _refuse(self, status: str, told: str) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        body = f"{told}\n".encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
