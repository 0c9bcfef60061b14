"""The HTTP door: ``POST /<package.Service>/<Method>`` with protobuf JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.call import BackendError, Call, Metadata
from gateway.methods import Method, unknown_method
from gateway.pipeline import Proceed
from gateway.routes import errors
from gateway.routes.body import CallerLeft, read_json
from gateway.routes.deadline import timeout_from
from gateway.routes.http import form_refusal, metadata_of, while_connected
from gateway.routes.transcode import to_json, to_message
from services.common.errors import Code, Reason, ServiceError, unsupported
from services.common.rpc.interceptors import REQUEST_ID_KEY, internal_error, request_id_from

_JSON = "application/json"
_NDJSON = "application/x-ndjson"

_logger = logging.getLogger("pequod.gateway")


class RpcDoor:
    """An ASGI endpoint. A unary reply is one JSON object, a stream is one object a line."""

    def __init__(self, methods: Mapping[str, Method], pipeline: Proceed) -> None:
        self._methods = methods
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        request_id = request_id_from(request.headers.items())
        replies = HttpReplies(send, request_id)
        try:
            call = await self._call(request, request_id, replies)
            await while_connected(self._answer(call, replies), receive)
        except CallerLeft:
            return
        except (ServiceError, BackendError) as error:
            await replies.fail(error)
        except Exception:
            _logger.exception("unexpected error", extra={"path": scope["path"]})
            await replies.fail(internal_error(request_id))

    async def _call(self, request: Request, request_id: str, replies: HttpReplies) -> Call:
        """What the request asks for. Raises ServiceError when it cannot be understood."""
        path = request.scope["path"]
        method = self._methods.get(path)
        if method is None:
            raise unknown_method(path, self._methods)
        if request.method != "POST":
            replies.status = 405
            replies.headers += [(b"allow", b"POST")]
            raise unsupported(f"{method.path} takes POST, not {request.method}")
        if method.request_streaming:
            replies.status = 501
            raise ServiceError(
                Code.UNIMPLEMENTED, Reason.UNSUPPORTED, f"{method.path} takes a stream of requests: use gRPC"
            )
        if refusal := form_refusal(request):
            replies.status = 415
            raise refusal
        remaining = timeout_from(request.headers)
        message = to_message(await read_json(request), method.request_type)
        replies.method = method
        return Call(method, metadata_of(request, request_id), message, remaining, replies)

    async def _answer(self, call: Call, replies: HttpReplies) -> None:
        await self._pipeline(call)
        await replies.finish(call)


class HttpReplies:
    """Sends replies as JSON; ``send`` of the server waits while the caller reads too slowly."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._started = False
        self.method: Method | None = None
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = [(REQUEST_ID_KEY.encode(), request_id.encode())]

    async def begin(self, metadata: Metadata) -> None:
        """A backend's own metadata stays behind: HTTP callers get what is in the messages."""

    async def send(self, message: bytes) -> None:
        """One line of a stream."""
        await self._start(200, _NDJSON)
        await self._body(self._json(message) + "\n", more=True)

    async def finish(self, call: Call) -> None:
        """The end: of the stream, or with the one reply."""
        if call.method.response_streaming:
            await self._start(200, _NDJSON)
            await self._body("", more=False)
        else:
            text = self._json(call.reply)
            await self._start(200, _JSON)
            await self._body(text, more=False)

    async def fail(self, error: ServiceError | BackendError) -> None:
        """The error as the answer, or as the last line of a stream that has begun."""
        status = errors.status_of(error, self._request_id)
        if not self._started:
            if (seconds := errors.retry_after(status)) is not None:
                self.headers += [(b"retry-after", seconds.encode())]
            await self._start(self.status or errors.http_status(status), _JSON)
        await self._body(errors.body(status, self._request_id) + "\n", more=False)

    async def _start(self, status: int, content_type: str) -> None:
        if self._started:
            return
        self._started = True
        headers = [(b"content-type", content_type.encode()), *self.headers]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, text: str, more: bool) -> None:
        await self._send(
            {"type": "http.response.body", "body": text.encode(errors="replace"), "more_body": more}
        )

    def _json(self, message: bytes) -> str:
        assert self.method is not None, "replies come after the request was understood"
        return to_json(message, self.method.response_type)
