"""The platform's doors as a caller has them: gRPC, protobuf JSON over HTTP, OpenAI's API with its events."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import httpx
from grpc import aio

from pequod_client.connection import channel_options, key_metadata
from tests.load.core.judging import CallFailed, WrongPayload

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""What an HTTP status says where the body names no code."""
_CODES_OF_REASONS = {
    "DEADLINE": "DEADLINE_EXCEEDED",
    "LIMIT_REACHED": "RESOURCE_EXHAUSTED",
    **dict.fromkeys(("OVERLOADED", "LOADING", "DRAINING", "BACKEND_DOWN"), "UNAVAILABLE"),
}
"""What the reason says of an error that comes after a status line that was good."""
_SPARE = 5.0
"""Seconds beyond a call's deadline after which the caller stops waiting for the answer that says so."""


@dataclass(frozen=True)
class Address:
    """Where a platform is found, and the key it is shown."""

    grpc: str
    """host:port"""
    http: str
    """http://host:port"""
    key: str | None = None


class Doors:
    """Open connections of one caller. Use it in an ``async with`` block."""

    def __init__(self, address: Address) -> None:
        self._metadata = key_metadata(address.key)
        self.channel = aio.insecure_channel(address.grpc, channel_options(None, ()))
        self._http = httpx.AsyncClient(
            base_url=address.http,
            headers={"authorization": f"Bearer {address.key}"} if address.key else {},
            timeout=None,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self._http.aclose()

    def begun(self, method: Any, request: Any, timeout: float) -> Any:
        """The call of a stub's method, begun, with this caller's key."""
        return method(request, timeout=timeout, metadata=self._metadata)

    async def post(self, path: str, body: Any, timeout: float) -> Any:
        """The JSON object that ``path`` answers. Raises CallFailed for any status but 200."""
        async with self._answered(path, body, timeout) as reply:
            return json.loads(await reply.aread())

    async def lines(self, path: str, body: Any, timeout: float) -> AsyncIterator[Any]:
        """The JSON objects of a stream of lines. Raises CallFailed for an error in their midst, too."""
        async with self._answered(path, body, timeout) as reply:
            async for line in reply.aiter_lines():
                if line:
                    yield _unless_error(json.loads(line), reply)

    async def events(self, path: str, body: Any, timeout: float) -> AsyncIterator[Any]:
        """The same of server-sent events, which must end with ``[DONE]``."""
        async with self._answered(path, body, timeout) as reply:
            async for line in reply.aiter_lines():
                if line == "data: [DONE]":
                    return
                if line.startswith("data: "):
                    yield _unless_error(json.loads(line[len("data: ") :]), reply)
        raise WrongPayload("the events ended without [DONE]")

    @contextlib.asynccontextmanager
    async def _answered(self, path: str, body: Any, timeout: float) -> AsyncIterator[httpx.Response]:
        headers = {"x-timeout-seconds": f"{timeout:g}"}
        try:
            async with (
                asyncio.timeout(timeout + _SPARE),
                self._http.stream("POST", path, json=body, headers=headers) as reply,
            ):
                if reply.status_code != 200:
                    raise _failure(await reply.aread(), reply)
                yield reply
        except httpx.HTTPError as error:
            raise CallFailed("UNAVAILABLE", f"the connection broke: {error!r}") from error


def _unless_error(found: Any, reply: httpx.Response) -> Any:
    if isinstance(found, dict) and "error" in found:
        raise _failure(json.dumps(found).encode(), reply)
    return found


def _failure(body: bytes, reply: httpx.Response) -> CallFailed:
    """The error in ``body``, of our own form or OpenAI's."""
    try:
        error = dict(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        error = {"message": body[:200].decode(errors="replace")}
    details = {each.get("@type", "").rpartition(".")[2]: each for each in error.get("details", ())}
    own = isinstance(error.get("status"), str)
    reason = details.get("ErrorInfo", {}).get("reason", "") if own else str(error.get("code") or "")
    retry = details.get("RetryInfo", {}).get("retryDelay", "").rstrip("s") or reply.headers.get("retry-after")
    return CallFailed(
        error["status"] if own else _CODES.get(reply.status_code) or _CODES_OF_REASONS.get(reason, "UNKNOWN"),
        str(error.get("message", "")),
        reason,
        float(retry) if retry else None,
        reply.headers.get("x-request-id", ""),
    )
