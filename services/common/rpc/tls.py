"""TLS of a listener: certificates that are read again when their files change, without a restart."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc

from services.common.settings import SettingsError, setting
from services.common.stamps import Watched

_logger = logging.getLogger("pequod.server.tls")


@dataclass(frozen=True)
class TlsSettings:
    """The certificate of a listener, and who may connect."""

    PREFIXES: ClassVar = ("gateway", "services")
    """What stands for ``{SERVICE}``: the gateway's doors, or the gRPC ports of all services."""

    certificate: Path | None = setting(
        None, env="PEQUOD_{SERVICE}_TLS_CERT", help="PEM file of the certificate chain; empty: no TLS."
    )
    key: Path | None = setting(None, env="PEQUOD_{SERVICE}_TLS_KEY", help="PEM file of its private key.")
    client_ca: Path | None = setting(
        None,
        env="PEQUOD_{SERVICE}_TLS_CLIENT_CA",
        help="PEM file of authorities; clients then need a certificate of one of them.",
    )


@dataclass(frozen=True)
class _Held:
    """One reading of the files, in PEM, and what they give."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext


class ServerTls:
    """The files of one listener. Files that do not fit together leave those of before in force."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises SettingsError with a sentence where they cannot be used."""
        self._settings = settings
        files = (settings.certificate, settings.key, settings.client_ca)
        try:
            self._held = Watched(
                files,
                lambda: _read(settings),
                told="certificate read again",
                refused="certificate not read again",
                logger=_logger,
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(f"TLS of this listener: {error}") from None

    def held(self, listener: str) -> Mapping[str, bytes]:
        """PEM that the next handshake goes by, under the settings' names. ``listener``: one of PREFIXES."""
        held, prefix = self._held.newest(), f"PEQUOD_{listener.upper()}_TLS"
        found = {f"{prefix}_CERT": held.certificate}
        if held.client_ca is not None:
            found[f"{prefix}_CLIENT_CA"] = held.client_ca
        return found

    def credentials(self) -> grpc.ServerCredentials:
        """For a gRPC port."""
        told = self._held.newest()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal told
            before, told = told, self._held.newest()
            return None if told is before else _configuration(told)

        # None says that nothing has changed; the stubs do not know that.
        fetcher: Any = fetch
        return grpc.dynamic_ssl_server_credentials(_configuration(told), fetcher, told.client_ca is not None)

    def context(self) -> ssl.SSLContext:
        """For an HTTP port. Every handshake begins with it and goes on with the newest."""

        def newest(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: Any) -> None:
            connection.context = self._held.newest().context

        first = _context(self._settings)
        first.sni_callback = newest
        return first


def server_tls(settings: TlsSettings) -> ServerTls | None:
    """None where no certificate is named. Raises SettingsError."""
    if settings.certificate is None and settings.key is None and settings.client_ca is None:
        return None
    return ServerTls(settings)


def bind_port(server: Any, address: str, tls: ServerTls | None) -> int:
    """Bind a gRPC server; returns the port. Raises RuntimeError when the address is taken."""
    port: int = (
        server.add_insecure_port(address)
        if tls is None
        else server.add_secure_port(address, tls.credentials())
    )
    return port


def _both(settings: TlsSettings) -> tuple[Path, Path]:
    if settings.certificate is None or settings.key is None:
        raise ValueError("a certificate and its key go together; one is missing")
    return settings.certificate, settings.key


def _read(settings: TlsSettings) -> _Held:
    """Raises OSError or ValueError where the files cannot be used."""
    context = _context(settings)  # also finds out whether they fit together
    certificate, key = _both(settings)
    authorities = settings.client_ca
    return _Held(
        certificate.read_bytes(), key.read_bytes(), authorities.read_bytes() if authorities else None, context
    )


def _context(settings: TlsSettings) -> ssl.SSLContext:
    certificate, key = _both(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    if settings.client_ca is not None:
        context.load_verify_locations(settings.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _configuration(held: _Held) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(held.key, held.certificate)], root_certificates=held.client_ca
    )
