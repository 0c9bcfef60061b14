"""What a process reads of OpenTelemetry's own variables; the SDK reads the finer ones itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.settings import SettingsError, from_environment, setting

PREFIX = "OTEL_"
_GRPC, _HTTP = "grpc", "http/protobuf"
_PATH = "/v1/traces"
"""Below a collector's address, where OTLP over HTTP goes."""
_SAMPLERS = ("always_on", "always_off", "traceidratio")


@dataclass(frozen=True)
class TracingSettings:
    """Where spans go, and which traces are kept. Without an address nothing is traced."""

    endpoint: str = setting(
        "",
        env="OTEL_EXPORTER_OTLP_ENDPOINT",
        help="Collector that takes OTLP: http://HOST:4317 over gRPC, http://HOST:4318 over HTTP.",
    )
    traces_endpoint: str = setting(
        "",
        env="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        help="The same for traces alone, over HTTP with its path: http://HOST:4318/v1/traces; it goes first.",
    )
    disabled: bool = setting(False, env="OTEL_SDK_DISABLED", help="true turns all of it off.")
    exporter: str = setting(
        "otlp", env="OTEL_TRACES_EXPORTER", help="none turns traces off.", choices=("otlp", "none")
    )
    protocol: str = setting(
        _GRPC, env="OTEL_EXPORTER_OTLP_PROTOCOL", help="How OTLP travels.", choices=(_GRPC, _HTTP)
    )
    traces_protocol: str = setting(
        "",
        env="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        help="The same for traces alone; it goes first.",
        choices=("", _GRPC, _HTTP),
    )
    service_name: str = setting("", env="OTEL_SERVICE_NAME", help="Name of the process in traces.")
    sampler: str = setting(
        "parentbased_always_on",
        env="OTEL_TRACES_SAMPLER",
        help="Which traces are kept; parentbased_…: as the caller's traceparent says, where there is one.",
        choices=(*_SAMPLERS, *(f"parentbased_{name}" for name in _SAMPLERS)),
    )
    sampler_arg: float = setting(
        1.0,
        env="OTEL_TRACES_SAMPLER_ARG",
        help="Share of traces that a sampler by ratio keeps.",
        minimum=0,
        maximum=1,
    )

    @property
    def address(self) -> str:
        """Where spans are sent; empty: nowhere."""
        if self.disabled or self.exporter == "none":
            return ""
        if self.traces_endpoint or not self.endpoint or not self.is_http:
            return self.traces_endpoint or self.endpoint
        return self.endpoint.rstrip("/") + _PATH

    @property
    def is_http(self) -> bool:
        """Whether spans travel as OTLP over HTTP, not over gRPC."""
        return (self.traces_protocol or self.protocol) == _HTTP


def tracing_settings(environ: Mapping[str, str] | None = None) -> TracingSettings:
    """Read them. An empty variable counts as none, as OpenTelemetry has it. Raises SettingsError."""
    source = os.environ if environ is None else environ
    given = {name: value for name, value in source.items() if name.startswith(PREFIX) and value.strip()}
    settings = from_environment(TracingSettings, given)
    if why := _refusal(settings):
        name = f"OTEL_EXPORTER_OTLP_{'TRACES_' if settings.traces_endpoint else ''}ENDPOINT"
        given_address = settings.traces_endpoint or settings.endpoint
        raise SettingsError(f"{name}={given_address!r} is not usable: {why}.")
    return settings


def _refusal(settings: TracingSettings) -> str:
    """Why nothing can be sent to its address; empty where it can."""
    address = settings.address
    if not address:
        return ""
    if "://" not in address:  # HOST:PORT is an address for gRPC
        return "over HTTP it must begin with http:// or https://" if settings.is_http else ""
    is_known = urlsplit(address).scheme in ("http", "https")
    return "" if is_known else "it must begin with http:// or https://"
