"""An endpoint over HTTP: a body in, one JSON object or server-sent events out, errors as OpenAI has them."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.call import BackendError
from gateway.caller import Caller
from gateway.methods import Method
from gateway.openai import errors
from gateway.openai.answer import Answer, Events, Json
from gateway.openai.form import MEDIA_TYPE, read_form
from gateway.pipeline import Proceed
from gateway.routes.body import CallerLeft, read_json
from gateway.routes.deadline import timeout_from
from gateway.routes.errors import http_status, retry_after, status_of
from gateway.routes.http import form_refusal, metadata_of, while_connected
from services.common.errors import ServiceError, unsupported
from services.common.rpc.interceptors import REQUEST_ID_KEY, internal_error, request_id_from

Endpoint: TypeAlias = "Callable[[Mapping[str, Any], Caller], Awaitable[Answer]]"
"""Of what the body, the query and the path say."""

ANY = "*"
"""Stands for every HTTP method."""

_logger = logging.getLogger("pequod.gateway")


class Door:
    """An ASGI endpoint."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], methods: Mapping[str, Method], pipeline: Proceed
    ) -> None:
        """``endpoints`` by the HTTP method that each takes."""
        self._endpoints = endpoints
        self._methods, self._pipeline = methods, pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        request_id = request_id_from(request.headers.items())
        reply = _Reply(send, request_id)
        try:
            endpoint = self._endpoints.get(request.method) or self._endpoints.get(ANY)
            if endpoint is None:
                raise reply.not_allowed(", ".join(self._endpoints), request)
            value = await _given(request, reply)
            remaining, metadata = timeout_from(request.headers), metadata_of(request, request_id)
            caller = Caller(self._methods, self._pipeline, metadata, request_id, remaining)
            await while_connected(reply.answer(endpoint(value, caller)), receive)
        except CallerLeft:
            return
        except (ServiceError, BackendError) as error:
            await reply.fail(error)
        except Exception:
            _logger.exception("unexpected error", extra={"path": scope["path"]})
            await reply.fail(internal_error(request_id))


async def _given(request: Request, reply: _Reply) -> Mapping[str, Any]:
    if request.method != "POST":
        return {**request.query_params, **request.path_params}
    if refusal := form_refusal(request):
        reply.status = 415
        raise refusal
    read = read_form if _is_form(request) else read_json
    return {**await read(request), **request.path_params}


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith(MEDIA_TYPE)


class _Reply:
    """Sends it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._headers = [(REQUEST_ID_KEY.encode(), request_id.encode())]
        self._started = False
        self.status: int | None = None

    def not_allowed(self, verbs: str, request: Request) -> ServiceError:
        """405, with what is allowed."""
        self.status = 405
        self._headers.append((b"allow", verbs.encode()))
        return unsupported(f"{request.url.path} takes {verbs}, not {request.method}")

    async def answer(self, answering: Awaitable[Answer]) -> None:
        """One object, or events as they come."""
        answer = await answering
        if not isinstance(answer, Events):
            await self._start(200, "application/json")
            await self._body(_text(answer), more=False)
            return
        async with aclosing(answer.objects) as objects:  # type: ignore[type-var]
            async for each in objects:
                await self._event(each, answer.named)
        await self._start_events()
        await self._body("" if answer.named else "data: [DONE]\n\n", more=False)

    async def fail(self, error: ServiceError | BackendError) -> None:
        """The error as the answer, or as the last event of a stream that has begun."""
        status = status_of(error, self._request_id)
        code = self.status or http_status(status)
        body = errors.body(status, code)
        if self._started:
            await self._body(f"data: {_text(body)}\n\n", more=False)
            return
        if (seconds := retry_after(status)) is not None:
            self._headers.append((b"retry-after", seconds.encode()))
        await self._start(code, "application/json")
        await self._body(_text(body), more=False)

    async def _event(self, event: Json, named: bool) -> None:
        await self._start_events()
        name = f"event: {event['type']}\n" if named else ""
        await self._body(f"{name}data: {_text(event)}\n\n", more=True)

    async def _start_events(self) -> None:
        if not self._started:
            self._headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
            await self._start(200, "text/event-stream; charset=utf-8")

    async def _start(self, status: int, content_type: str) -> None:
        self._started = True
        headers = [(b"content-type", content_type.encode()), *self._headers]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, text: str, more: bool) -> None:
        message: dict[str, Any] = {"type": "http.response.body", "more_body": more}
        await self._send({**message, "body": text.encode(errors="replace")})


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
