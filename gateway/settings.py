"""What the gateway reads from the environment at start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.database import DatabaseSettings
from gateway.keys.settings import KeySettings
from services.common.catalogue import SERVICES, ServiceEntry
from services.common.rpc.process import ProcessSettings
from services.common.rpc.tls import TlsSettings
from services.common.settings import SettingsError, from_environment, setting


@dataclass(frozen=True)
class Listeners(ProcessSettings):
    """Where the gateway listens."""

    port: int = setting(50051, env="PEQUOD_GATEWAY_PORT", help="gRPC port.", minimum=0, maximum=65535)
    http_port: int = setting(
        8080, env="PEQUOD_GATEWAY_HTTP_PORT", help="Public HTTP port.", minimum=0, maximum=65535
    )
    admin_port: int = setting(
        9050,
        env="PEQUOD_GATEWAY_ADMIN_PORT",
        help="HTTP port of /metrics, /livez and /readyz.",
        minimum=0,
        maximum=65535,
    )
    names: tuple[str, ...] = setting(
        (),
        env="PEQUOD_GATEWAY_NAMES",
        help="Names that HTTP callers know a gateway without keys by; on loopback no others but localhost.",
    )


@dataclass(frozen=True)
class Policy:
    """What the gateway allows a call."""

    unary_seconds: float = setting(
        120.0,
        env="PEQUOD_GATEWAY_UNARY_SECONDS",
        help="Deadline of a call with one request and one reply whose caller set none.",
        minimum=0.001,
    )
    stream_seconds: float = setting(
        3600.0,
        env="PEQUOD_GATEWAY_STREAM_SECONDS",
        help="Deadline of a call with a stream of requests or replies whose caller set none.",
        minimum=0.001,
    )
    max_seconds: float = setting(
        86400.0,
        env="PEQUOD_GATEWAY_MAX_SECONDS",
        help="Longest deadline; a longer one is cut to it.",
        minimum=0.001,
    )
    max_inflight: int = setting(
        512,
        env="PEQUOD_GATEWAY_MAX_INFLIGHT",
        help="Calls forwarded at a time, for each service.",
        minimum=1,
    )
    max_queue: int = setting(
        512,
        env="PEQUOD_GATEWAY_MAX_QUEUE",
        help="Calls that may wait for a place, for each service.",
        minimum=0,
    )


@dataclass(frozen=True)
class Addresses:
    """Where one service is."""

    port: int = setting(0, env="PEQUOD_{SERVICE}_PORT", help="gRPC port.", minimum=0, maximum=65535)
    backends: tuple[str, ...] = setting(
        (),
        env="PEQUOD_{SERVICE}_BACKENDS",
        help="Comma separated host:port of the service's replicas; default: its own port on this machine.",
    )


@dataclass(frozen=True)
class BackendTls:
    """How the gateway trusts the services, and shows itself to them."""

    authorities: Path | None = setting(
        None,
        env="PEQUOD_BACKEND_TLS_CA",
        help="PEM file of the authorities that services' certificates must be of; empty: no TLS to services.",
    )
    certificate: Path | None = setting(
        None, env="PEQUOD_BACKEND_TLS_CERT", help="PEM file of the gateway's own certificate for services."
    )
    key: Path | None = setting(None, env="PEQUOD_BACKEND_TLS_KEY", help="PEM file of its private key.")


@dataclass(frozen=True)
class GatewaySettings:
    """Everything together. ``backends`` maps each service's name to its replicas' host:port."""

    listeners: Listeners = field(default_factory=Listeners)
    policy: Policy = field(default_factory=Policy)
    backends: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    services: Sequence[ServiceEntry] = SERVICES
    keys: KeySettings = field(default_factory=lambda: KeySettings(file=None, audit_file=None))
    database: DatabaseSettings = field(default_factory=lambda: DatabaseSettings(""))
    tls: TlsSettings = field(default_factory=TlsSettings)
    backend_tls: BackendTls = field(default_factory=BackendTls)


def load(
    environ: Mapping[str, str] | None = None, services: Sequence[ServiceEntry] = SERVICES
) -> GatewaySettings:
    """Read the settings. Raises SettingsError with a sentence on a bad value."""
    return GatewaySettings(
        listeners=from_environment(Listeners, environ),
        policy=from_environment(Policy, environ),
        backends={service.name: _backends(service, environ) for service in services},
        services=services,
        keys=from_environment(KeySettings, environ),
        database=from_environment(DatabaseSettings, environ),
        tls=from_environment(TlsSettings, environ, "gateway"),
        backend_tls=from_environment(BackendTls, environ),
    )


def _backends(service: ServiceEntry, environ: Mapping[str, str] | None) -> tuple[str, ...]:
    found = from_environment(Addresses, environ, service.name)
    if not found.backends:
        return (f"127.0.0.1:{found.port or service.port}",)
    for address in found.backends:
        _check_address(address, f"PEQUOD_{service.name.upper()}_BACKENDS")
    return tuple(dict.fromkeys(found.backends))


def _check_address(address: str, variable: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{variable} is not usable: {address!r} is not host:port.")
