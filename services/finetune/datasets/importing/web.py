"""https:// - one file from the public web; addresses inside any private network are refused."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urljoin, urlunsplit

from services.finetune.datasets.importing.source import Got, SourceFailed, SourceFile

_CHUNK = 1 << 20
_SECONDS = 30.0
"""Without a byte."""
_REDIRECTS = 5
_ANOTHER_PLACE = frozenset({301, 302, 303, 307, 308})
# Public by their own numbers, but they lead to any IPv4 address, private ones too.
_GATEWAYS = tuple(
    ipaddress.ip_network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Whether ``address`` is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _GATEWAYS):
            return False
    return address.is_global and not address.is_multicast


class WebSource:
    """``allowed`` raises ServiceError for a place that may not be read; asked for each redirect too."""

    def __init__(
        self,
        uri: SplitResult,
        allowed: Callable[[str], SplitResult],
        public: Callable[[Address], bool] = is_public,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """``public``: which addresses may be connected to; ``trust``: whose certificates count."""
        self._uri = uri
        self._allowed = allowed
        self._public = public
        self._trust = trust or ssl.create_default_context()

    def list(self) -> Sequence[SourceFile]:
        """The one file; how large it is shows when it comes."""
        name = PurePosixPath(unquote(self._uri.path)).name or self._uri.hostname or "file"
        return [SourceFile(name, -1, urlunsplit(self._uri))]

    def fetch(self, file: SourceFile, target: Path, got: Got) -> None:
        """Follow redirects, then stream the file to disk."""
        place = file.place
        for _ in range(_REDIRECTS + 1):
            elsewhere = self._get(place, target, got)
            if elsewhere is None:
                return
            place = elsewhere
        raise SourceFailed(f"{file.place} leads on and on, more than {_REDIRECTS} times")

    def _get(self, place: str, target: Path, got: Got) -> str | None:
        """Fetch ``place``; returns where it leads instead, if it does."""
        parts = self._allowed(place)
        if parts.scheme != "https" or not parts.hostname:
            raise SourceFailed(f"{place[:200]} is no https:// address")
        connection = _Connection(parts.hostname, parts.port or 443, self._public, self._trust)
        try:
            path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("GET", path, headers={"user-agent": "pequod", "accept-encoding": "identity"})
            reply = connection.getresponse()
            if reply.status in _ANOTHER_PLACE and (location := reply.getheader("location")):
                return urljoin(place, location)
            if reply.status != 200:
                raise SourceFailed(f"{place[:200]} answers {reply.status} {reply.reason[:80]}")
            _save(reply, target, got)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceFailed(f"{place[:200]} cannot be read: {error}") from None
        finally:
            connection.close()
        return None


class _Connection(http.client.HTTPSConnection):
    """Connects to the very address that was looked at, so that a name cannot change its mind in between."""

    def __init__(
        self, host: str, port: int, public: Callable[[Address], bool], trust: ssl.SSLContext
    ) -> None:
        super().__init__(host, port, timeout=_SECONDS, context=trust)
        self._public = public
        self._trust = trust

    def connect(self) -> None:
        """Resolve, look, connect, and check the certificate against the name."""
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if refused := [each for each in addresses if not self._public(ipaddress.ip_address(each))]:
            raise SourceFailed(f"{self.host} is at {refused[0]}, which is no public address: refused")
        last: OSError | None = None
        for address in addresses:
            try:
                raw = socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                last = error
                continue
            self.sock = self._trust.wrap_socket(raw, server_hostname=self.host)
            return
        raise last or OSError(f"{self.host} has no address")


def _save(reply: http.client.HTTPResponse, target: Path, got: Got) -> None:
    done = 0
    with target.open("wb") as copy:
        while chunk := reply.read(_CHUNK):
            done += len(chunk)
            got(done)
            copy.write(chunk)
    if reply.length:  # http.client ends quietly when the connection breaks
        raise SourceFailed(f"the connection broke after {done:,} bytes")
