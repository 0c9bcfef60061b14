"""What a process reads of OpenTelemetry's own variables; the SDK reads the finer ones itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.settings import SettingsError, from_environment, setting

PREFIX = "OTEL_"
_SAMPLERS = ("always_on", "always_off", "traceidratio")


@dataclass(frozen=True)
class TracingSettings:
    """Where spans go, and which traces are kept. Without an address nothing is traced."""

    endpoint: str = setting(
        "", env="OTEL_EXPORTER_OTLP_ENDPOINT", help="Collector that takes OTLP over gRPC, http://HOST:4317."
    )
    traces_endpoint: str = setting(
        "", env="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", help="The same for traces alone; it goes first."
    )
    disabled: bool = setting(False, env="OTEL_SDK_DISABLED", help="true turns all of it off.")
    exporter: str = setting(
        "otlp", env="OTEL_TRACES_EXPORTER", help="none turns traces off.", choices=("otlp", "none")
    )
    protocol: str = setting(
        "grpc", env="OTEL_EXPORTER_OTLP_PROTOCOL", help="How OTLP travels.", choices=("grpc",)
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
        return self.traces_endpoint or self.endpoint


def tracing_settings(environ: Mapping[str, str] | None = None) -> TracingSettings:
    """Read them. An empty variable counts as none, as OpenTelemetry has it. Raises SettingsError."""
    source = os.environ if environ is None else environ
    given = {name: value for name, value in source.items() if name.startswith(PREFIX) and value.strip()}
    settings = from_environment(TracingSettings, given)
    scheme = urlsplit(settings.address).scheme if "://" in settings.address else "http"
    if scheme not in ("http", "https"):
        raise SettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={settings.address!r} is not usable: it must begin with http:// or "
            "https://."
        )
    return settings
