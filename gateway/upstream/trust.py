"""TLS towards the services: whom the gateway trusts, what it shows; read again when the files change."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from gateway.settings import BackendTls
from services.common.settings import SettingsError
from services.common.stamps import Watched

Credentials = Callable[[], grpc.ChannelCredentials | None]
"""What a new connection is made with; None: it is in the clear."""

_logger = logging.getLogger("pequod.gateway")


@dataclass(frozen=True)
class _Held:
    """One reading of the files, in PEM, and what they give."""

    authorities: bytes
    certificate: bytes | None
    credentials: grpc.ChannelCredentials


class BackendTrust:
    """Files that do not fit leave those of before in force; a connection that is open keeps its own."""

    def __init__(self, settings: BackendTls) -> None:
        """Raises SettingsError with a sentence where they cannot be used."""
        files = (settings.authorities, settings.certificate, settings.key)
        try:
            self._held = Watched(
                files,
                lambda: _read(*files),
                told="certificate for services read again",
                refused="certificate for services not read again",
                logger=_logger,
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(f"TLS to services: {error}") from None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For a channel that is made now; the same object until the files change. None without TLS."""
        held = self._held.newest()
        return held.credentials if held else None

    def held(self) -> Mapping[str, bytes]:
        """PEM that the next channel is made with, under the settings' names."""
        held = self._held.newest()
        if held is None:
            return {}
        found = {"PEQUOD_BACKEND_TLS_CA": held.authorities}
        if held.certificate is not None:
            found["PEQUOD_BACKEND_TLS_CERT"] = held.certificate
        return found


def _read(authorities: Path | None, certificate: Path | None, key: Path | None) -> _Held | None:
    """Raises OSError or ValueError where the files cannot be used."""
    if authorities is None:
        return None
    if (key is None) != (certificate is None):
        raise ValueError("PEQUOD_BACKEND_TLS_CERT and PEQUOD_BACKEND_TLS_KEY go together; one is missing")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # finds out whether they can be used
    context.load_verify_locations(authorities)
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    trusted = authorities.read_bytes()
    shown, secret = (path.read_bytes() if path else None for path in (certificate, key))
    return _Held(trusted, shown, grpc.ssl_channel_credentials(trusted, secret, shown))
