"""Collectors of OpenTelemetry for tests, which keep what comes: OTLP over gRPC, and over HTTP."""

from __future__ import annotations

import gzip
import http.server
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


class _Keeping:
    """While ``held`` is not set, whoever sends gets no answer."""

    def __init__(self):
        self.spans = []
        self.held = threading.Event()
        self.held.set()
        self.asked = threading.Event()

    def take(self, request):
        """Keep the spans of an ExportTraceServiceRequest."""
        self.asked.set()
        self.held.wait()
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            self.spans += [_seen(service, each) for scope in resource.scope_spans for each in scope.spans]

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


class Collector(_Keeping, trace_service_pb2_grpc.TraceServiceServicer):
    """Serves OTLP over gRPC while its block runs."""

    def __init__(self):
        super().__init__()
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
        self.take(request)
        return trace_service_pb2.ExportTraceServiceResponse()


class HttpCollector(_Keeping):
    """Serves OTLP over HTTP while its block runs, and notes (path, headers) of each request."""

    def __init__(self):
        super().__init__()
        self.requests = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.held.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(collector):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.requests.append((self.path, dict(self.headers)))
            collector.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Handler


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
