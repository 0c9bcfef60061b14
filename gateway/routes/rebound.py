"""Refuses web pages whose own name was made to lead to this machine, where no key keeps them out."""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.routes import errors
from services.common.errors import Code, Reason, ServiceError

_SHOWN = 100


class OnlyByItsNames:
    """Stands around the public app.

    To a browser a page of evil.example and a platform that evil.example leads to are one place (DNS
    rebinding): the page may ask what it likes, and read the answers. Its requests have its own name as Host.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], is_open: Callable[[], bool]) -> None:
        """``names`` of this platform beside addresses and localhost; ``is_open``: whoever comes is let in."""
        self._app, self._is_open = app, is_open
        self._names = {each.lower() for each in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 403."""
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        if host and not self._knows(name_in(host)) and self._is_open():
            await _refusal(host)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # nobody's name


def name_in(host: str) -> str:
    """The name or address of a Host header, in small letters, without port, brackets and the last dot."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _refusal(host: str) -> Response:
    what = (
        f"this platform asks for no key, so it answers to addresses and localhost alone, not to "
        f"{host[:_SHOWN]!r}: make keys with `pequod keys create`, or name it in PEQUOD_GATEWAY_NAMES"
    )
    request_id = uuid.uuid4().hex
    error = ServiceError(Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, what)
    status = errors.status_of(error, request_id)
    return Response(
        errors.body(status, request_id), errors.http_status(status), media_type="application/json"
    )
