"""A collector of OpenTelemetry for tests: the real service of OTLP over gRPC, which keeps what comes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

KINDS = {
    Span.SPAN_KIND_INTERNAL: "internal",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_CLIENT: "client",
}


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ids in hexadecimal, ``parent`` empty at a root."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict
    failed: bool
    begin: int
    end: int


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Serves while its block runs. While ``held`` is not set, whoever sends gets no answer."""

    def __init__(self):
        self.spans = []
        self.held = threading.Event()
        self.held.set()
        self.asked = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(16))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self.held.set()
        self._server.stop(None).wait()

    def Export(self, request, context):
        self.asked.set()
        self.held.wait()
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            self.spans += [_seen(service, each) for scope in resource.scope_spans for each in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def of(self, trace):
        """The spans of one trace, in the order in which they began."""
        return sorted((each for each in self.spans if each.trace == trace), key=lambda each: each.begin)

    def until(self, condition, seconds=30):
        """What ``condition`` finds, once it finds something."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not seen; there are {tree(self.spans)}"
            time.sleep(0.05)
        return found


def _seen(service, span):
    return Seen(
        service,
        span.name,
        KINDS[span.kind],
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _values(span.attributes),
        span.status.code == Status.STATUS_CODE_ERROR,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _values(attributes):
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def tree(spans):
    """(service, name, name of the parent or "") of each, in the order in which they began."""
    names = {each.id: each.name for each in spans}
    ordered = sorted(spans, key=lambda each: each.begin)
    return [(each.service, each.name, names.get(each.parent, "")) for each in ordered]
