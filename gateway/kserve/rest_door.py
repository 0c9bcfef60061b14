"""The REST door: a body in, a body or server-sent events out, errors as ``{"error": "…"}``."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.rpc import error_details_pb2, status_pb2
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.call import BackendError
from gateway.caller import Caller
from gateway.kserve.rest_wire import HEADER_LENGTH, to_json
from gateway.methods import Method
from gateway.pipeline import Proceed
from gateway.routes.body import CallerLeft, read_bytes
from gateway.routes.deadline import timeout_from
from gateway.routes.errors import http_status, retry_after, status_of
from gateway.routes.http import form_refusal, metadata_of, while_connected
from services.common.errors import ServiceError, unsupported
from services.common.rpc.interceptors import REQUEST_ID_KEY, internal_error, request_id_from

_JSON, _BINARY = "application/json", "application/octet-stream"
_EVENTS = "text/event-stream; charset=utf-8"

_logger = logging.getLogger("pequod.gateway")


@dataclass(frozen=True)
class Asked:
    """A request: parameters of its path, its body and its headers."""

    path: Mapping[str, str]
    body: bytes
    headers: Headers


@dataclass(frozen=True)
class Answer:
    """A body; ``json_length`` bytes of it are JSON where others follow."""

    body: bytes
    status: int = 200
    json_length: int | None = None


Events: TypeAlias = "AsyncGenerator[dict[str, Any], None]"
Endpoint: TypeAlias = "Callable[[Asked, Caller], Awaitable[Answer | Events]]"


class RestDoor:
    """An ASGI endpoint."""

    def __init__(
        self, endpoint: Endpoint, verb: str, methods: Mapping[str, Method], pipeline: Proceed
    ) -> None:
        """``verb``: the HTTP method it takes; empty for all of them."""
        self._endpoint, self._verb = endpoint, verb
        self._methods, self._pipeline = methods, pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        request_id = request_id_from(request.headers.items())
        reply = _Reply(send, request_id)
        try:
            asked = await self._asked(request, reply)
            metadata, remaining = metadata_of(request, request_id), timeout_from(request.headers)
            caller = Caller(self._methods, self._pipeline, metadata, request_id, remaining)
            await while_connected(reply.answer(self._endpoint(asked, caller)), receive)
        except CallerLeft:
            return
        except (ServiceError, BackendError) as error:
            await reply.fail(error)
        except Exception:
            _logger.exception("unexpected error", extra={"path": scope["path"]})
            await reply.fail(internal_error(request_id))

    async def _asked(self, request: Request, reply: _Reply) -> Asked:
        if self._verb and request.method != self._verb:
            raise reply.not_allowed(self._verb, request)
        body = b""
        if request.method == "POST":
            if refusal := form_refusal(request) or _compressed(request):
                reply.status = 415
                raise refusal
            body = await read_bytes(request)
        return Asked(request.path_params, body, request.headers)


def _compressed(request: Request) -> ServiceError | None:
    """Why to refuse a body that has to be unpacked, whose size nobody knows before."""
    encoding = request.headers.get("content-encoding", "identity")
    return None if encoding == "identity" else unsupported(f"send bodies as they are, not as {encoding[:40]}")


class _Reply:
    """Sends it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._headers = [(REQUEST_ID_KEY, request_id)]
        self._started = False
        self.status: int | None = None

    def not_allowed(self, verb: str, request: Request) -> ServiceError:
        """405, with what is allowed."""
        self.status = 405
        self._headers.append(("allow", verb))
        return unsupported(f"{request.url.path} takes {verb}, not {request.method}")

    async def answer(self, answering: Awaitable[Answer | Events]) -> None:
        """One body, or events as they come."""
        answer = await answering
        if not isinstance(answer, Answer):
            await self._stream(answer)
            return
        media = _JSON
        if answer.json_length is not None:
            media = _BINARY
            self._headers.append((HEADER_LENGTH, str(answer.json_length)))
        await self._start(answer.status, media)
        await self._body(answer.body, more=False)

    async def fail(self, error: ServiceError | BackendError) -> None:
        """The error as the answer, or as the last event of a stream that has begun."""
        status = status_of(error, self._request_id)
        body = to_json({"error": status.message, "reason": _reason(status)})
        if self._started:
            await self._body(_event(body), more=False)
            return
        if (seconds := retry_after(status)) is not None:
            self._headers.append(("retry-after", seconds))
        await self._start(self.status or http_status(status), _JSON)
        await self._body(body, more=False)

    async def _stream(self, events: Events) -> None:
        async with aclosing(events):
            async for each in events:
                if not self._started:
                    self._headers += [("cache-control", "no-cache"), ("x-accel-buffering", "no")]
                    await self._start(200, _EVENTS)
                await self._body(_event(to_json(each)), more=True)
        await self._body(b"", more=False)

    async def _start(self, status: int, content_type: str) -> None:
        self._started = True
        headers = [("content-type", content_type), *self._headers]
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _body(self, data: bytes, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _reason(status: status_pb2.Status) -> str:
    """Of our catalogue; empty where a backend gave none."""
    info = error_details_pb2.ErrorInfo()
    return next((str(info.reason) for detail in status.details if detail.Unpack(info)), "")
