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
from services.common.stamps import Stamp, stamp_of

Credentials = Callable[[], grpc.ChannelCredentials | None]
"""What a new connection is made with; None: it is in the clear."""

_logger = logging.getLogger("pequod.gateway")


@dataclass(frozen=True)
class _Files:
    """One reading of the files, in PEM."""

    authorities: bytes
    certificate: bytes | None
    key: bytes | None


class BackendTrust:
    """Files that do not fit leave those of before in force; a connection that is open keeps its own."""

    def __init__(self, settings: BackendTls) -> None:
        """Raises SettingsError with a sentence where they cannot be used."""
        self._settings = settings
        self._stamp = self._stamped()
        try:
            self._files = self._load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(f"TLS to services: {error}") from None
        self._credentials = _credentials(self._files)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For a channel that is made now; the same object until the files change. None without TLS."""
        self._look()
        return self._credentials

    def held(self) -> Mapping[str, bytes]:
        """PEM that the next channel is made with, under the settings' names."""
        self._look()
        files = self._files
        if files is None:
            return {}
        found = {"PEQUOD_BACKEND_TLS_CA": files.authorities}
        if files.certificate is not None:
            found["PEQUOD_BACKEND_TLS_CERT"] = files.certificate
        return found

    def _look(self) -> None:
        """Read the files again if they are others than before."""
        stamp = self._stamped()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._files = self._load()
        except (OSError, ValueError) as error:
            _logger.error("certificate for services not read again", extra={"error": str(error)})
            return
        self._credentials = _credentials(self._files)
        _logger.info("certificate for services read again", extra={"file": str(self._settings.certificate)})

    def _load(self) -> _Files | None:
        authorities, certificate, key = self._paths()
        if authorities is None:
            return None
        if (key is None) != (certificate is None):
            raise ValueError("PEQUOD_BACKEND_TLS_CERT and PEQUOD_BACKEND_TLS_KEY go together; one is missing")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # finds out whether they can be used
        context.load_verify_locations(authorities)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
        return _Files(
            authorities.read_bytes(),
            certificate.read_bytes() if certificate else None,
            key.read_bytes() if key else None,
        )

    def _paths(self) -> tuple[Path | None, Path | None, Path | None]:
        return self._settings.authorities, self._settings.certificate, self._settings.key

    def _stamped(self) -> tuple[Stamp, ...]:
        return tuple(stamp_of(path) for path in self._paths())


def _credentials(files: _Files | None) -> grpc.ChannelCredentials | None:
    if files is None:
        return None
    return grpc.ssl_channel_credentials(files.authorities, files.key, files.certificate)
