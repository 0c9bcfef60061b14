"""What the HTTP doors share: whose request it is, and an answer that ends when its reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.call import Metadata
from gateway.routes.body import CallerLeft
from services.common.errors import ServiceError, unsupported
from services.common.rpc.interceptors import REQUEST_ID_KEY
from services.common.tracing.context import KEYS

# Beside the trace context these of a caller's headers go onward. They say who calls; the pipeline reads them.
_CREDENTIALS = ("authorization", "x-api-key")

_JSON = "application/json"


async def while_connected(answer: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run ``answer``; cancel it, and the backend's call with it, when the caller leaves."""
    answering = asyncio.create_task(answer)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise CallerLeft
        await answering
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def metadata_of(request: Request, request_id: str) -> Metadata:
    """What the pipeline is given of a request's headers."""
    headers = ((name, request.headers.get(name)) for name in (*KEYS, *_CREDENTIALS))
    return ((REQUEST_ID_KEY, request_id), *((name, value) for name, value in headers if value is not None))


def form_refusal(request: Request) -> ServiceError | None:
    """Why to refuse what a web page may send anywhere without asking first: a form, or plain text.

    A page that says JSON makes its browser ask, and the gateway does not agree. Programs send
    no Origin, and need no content type; the gateway's own page is no stranger.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if _from_elsewhere(request) and content_type != _JSON:
        return unsupported(f"send content-type {_JSON}, not {content_type or 'none'}")
    return None


def _from_elsewhere(request: Request) -> bool:
    """Whether a page of another host sends it: no page can choose its Origin, nor the Host."""
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


class Fallback:
    """What answers where no route matches: RPCs, whose paths are their names; a refusal under some prefixes.

    Routes do not match a path with a line break in it, whatever they say.
    """

    def __init__(self, others: ASGIApp, rpcs: ASGIApp, refusals: Mapping[str, ASGIApp]) -> None:
        """``others`` gets what is no HTTP; ``refusals`` by the prefix of the paths that they answer."""
        self._others, self._rpcs, self._refusals = others, rpcs, refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on."""
        answering = self._others
        if scope["type"] == "http":
            found = (each for prefix, each in self._refusals.items() if scope["path"].startswith(prefix))
            answering = next(found, self._rpcs)
        await answering(scope, receive, send)
