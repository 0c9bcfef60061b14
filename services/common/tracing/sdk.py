"""OpenTelemetry's SDK as the spans use it: imported only where tracing is on."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common.tracing.settings import TracingSettings
from services.common.tracing.spans import Attributes, Kind

FLUSH_SECONDS = 5.0
"""At the end of a process: how long the last spans may take to a collector that is slow or away."""
_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
}


class Sdk:
    """Makes spans and sends them in batches from a thread of its own.

    At most ``OTEL_BSP_MAX_QUEUE_SIZE`` (2048) wait; beyond that the oldest are dropped, so that a collector
    that is slow or away costs no call anything.
    """

    def __init__(self, name: str, settings: TracingSettings) -> None:
        """``name``: of the process, where the settings have none."""
        resource = Resource.create({SERVICE_NAME: settings.service_name or name})
        self._exporter = _exporter(settings)
        self._provider = TracerProvider(sampler=_sampler(settings), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("pequod")
        self._propagator = TraceContextTextMapPropagator()

    def enter(self, name: str, kind: Kind, headers: Mapping[str, str], attributes: Attributes) -> Span:
        """A span below the one that ``headers`` name if they can be read."""
        parent = self._propagator.extract(headers, Context())
        return self._tracer.start_span(name, parent, _KINDS[kind], attributes)

    def begin(
        self, name: str, kind: Kind, outer: Span, attributes: Attributes, begun: int | None = None
    ) -> Span:
        """A span below ``outer``, begun at ``begun`` (nanoseconds since 1970; None: now)."""
        parent = set_span_in_context(outer, Context())
        return self._tracer.start_span(name, parent, _KINDS[kind], attributes, start_time=begun)

    def mark(self, span: Span, reason: str) -> None:
        """``span`` ended with an error."""
        span.set_attribute("error.type", reason)
        span.set_status(Status(StatusCode.ERROR))

    def headers(self, span: Span) -> dict[str, str]:
        """``traceparent`` and, where there is one, ``tracestate`` for whoever is called below ``span``."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, Context()))
        return carrier

    def close(self) -> None:
        """Send what waits, for at most FLUSH_SECONDS."""
        ending = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)
        if ending.is_alive():
            self._exporter.shutdown()  # ends the attempt that is under way
            ending.join(1.0)


def _exporter(settings: TracingSettings) -> SpanExporter:
    """For the protocol that is asked for; the other one's client is not imported."""
    if settings.is_http:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

        return OverHttp(endpoint=settings.address)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

    return OverGrpc(endpoint=settings.address)


def _sampler(settings: TracingSettings) -> Sampler:
    name = settings.sampler.removeprefix("parentbased_")
    known: dict[str, Sampler] = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.sampler_arg),
    }
    return known[name] if name == settings.sampler else ParentBased(known[name])
