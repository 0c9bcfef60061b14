"""Spans of calls by the semantic conventions of OpenTelemetry for RPC."""

from __future__ import annotations

from services.common.tracing import spans
from services.common.tracing.context import Pairs, context_in
from services.common.tracing.spans import Attributes, Kind, NoSpan

# Of a server only these are its own errors: the others are its answer.
_SERVER_ERRORS = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)


def served(path: str, metadata: Pairs) -> NoSpan:
    """The span of a call that a process serves; ``path`` is ``/package.Service/Method``."""
    if not spans.is_on():
        return spans.NOTHING
    return spans.entered(path[1:], context_in(metadata), _attributes(path))


def part(path: str) -> NoSpan:
    """The span of a call that a process makes for a request in another protocol."""
    return spans.span(path[1:], _attributes(path))


def called(path: str, address: str, attempt: int) -> NoSpan:
    """The span of one try of a call on the backend at ``address`` (host:port); the first one is 1."""
    if not spans.is_on():
        return spans.NOTHING
    host, _, port = address.rpartition(":")
    where: Attributes = {"server.address": host.strip("[]"), "server.port": int(port)}
    attributes: Attributes = {**_attributes(path), **where, "pequod.attempt": attempt}
    return spans.span(path[1:], attributes, Kind.CLIENT)


def answered(span: NoSpan, code: str) -> None:
    """``span`` of a server ended with the status ``code``, a name such as NOT_FOUND."""
    span.set({"rpc.response.status_code": code})
    span.conclude(code if code in _SERVER_ERRORS else "")


def got(span: NoSpan, code: str) -> None:
    """``span`` of a client ended with the status ``code``."""
    span.set({"rpc.response.status_code": code})
    span.conclude("" if code == "OK" else code)


def _attributes(path: str) -> Attributes:
    # `rpc.system` and `rpc.service` are the names of before; tools still look for them.
    service, _, _ = path[1:].rpartition("/")
    return {"rpc.system.name": "grpc", "rpc.system": "grpc", "rpc.service": service, "rpc.method": path[1:]}
