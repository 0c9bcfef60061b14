"""The span of every request over HTTP, where the gateway traces."""

from __future__ import annotations

from collections.abc import Container

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.tracing import spans
from services.common.tracing.context import context_in
from services.common.tracing.spans import NoSpan

_API = ("/v1/", "/v2/")


class Traced:
    """Stands around the public app. Probes and the page's files have no spans.

    A span is named by the route, never by what stands in the path.
    """

    def __init__(self, app: ASGIApp, rpcs: Container[str]) -> None:
        """``rpcs``: paths that are methods."""
        self._app, self._rpcs = app, rpcs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request within its span."""
        if not spans.is_on() or scope["type"] != "http" or not self._is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        verb = scope["method"]
        attributes = {"http.request.method": verb, "url.scheme": scope["scheme"]}
        with spans.entered(verb, context_in(Headers(scope=scope).items()), attributes) as span:
            try:
                await self._app(scope, receive, _noting(send, span))
            finally:
                if route := self._route(scope):
                    span.rename(f"{verb} {route}")
                    span.set({"http.route": route})

    def _is_api(self, path: str) -> bool:
        return path.startswith(_API) or path in self._rpcs

    def _route(self, scope: Scope) -> str:
        """What the path is an instance of; empty where there is no such thing."""
        if scope["path"] in self._rpcs:
            return str(scope["path"])
        return str(getattr(scope.get("route"), "path_format", ""))


def _noting(send: Send, span: NoSpan) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set({"http.response.status_code": status})
            span.conclude(str(status) if status >= 500 else "")
        await send(message)

    return sending
