"""Connections to the public web only: names that lead into private networks are refused."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

_UNICAST = ipaddress.ip_network("2000::/3")
"""All that is given out of IPv6: what is outside is no one's, or stands for an address of another kind."""
# Public by their own numbers, but they lead to any IPv4 address, private ones too, or are for documents.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(each) for each in ("2002::/16", "2001::/32", "3fff::/20", "192.88.99.0/24")
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Public = Callable[[Address], bool]
"""Which addresses may be connected to."""


class NotPublic(OSError):
    """A name leads to an address that may not be connected to."""


def is_public(address: Address) -> bool:
    """Whether ``address`` is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address not in _UNICAST:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def address_in(host: str) -> Address | None:
    """The address that ``host`` spells, also as one number or in hexadecimal; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


@contextlib.contextmanager
def ended_within(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Breaks the connection when the block takes longer: a time limit between bytes alone never ends."""

    def end() -> None:
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def connected(host: str, port: int, seconds: float | None, public: Public) -> socket.socket:
    """A socket to an address that was looked at before, so that a name cannot change its mind in between.

    Raises NotPublic, OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if refused := [each for each in addresses if not public(ipaddress.ip_address(each))]:
        raise NotPublic(f"{host} is at {refused[0]}, which is no public address: refused")
    last: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), seconds)
        except OSError as error:
            last = error
    raise last or OSError(f"{host} has no address")


class SecureConnection(http.client.HTTPSConnection):
    """HTTPS; the certificate is checked against the name."""

    def __init__(
        self, host: str, port: int, seconds: float, public: Public, trust: ssl.SSLContext | None = None
    ) -> None:
        """``seconds`` without a byte; ``trust``: whose certificates count."""
        self._trust = trust or ssl.create_default_context()
        super().__init__(host, port, timeout=seconds, context=self._trust)
        self._public = public

    def connect(self) -> None:
        """Resolve, look, connect."""
        raw = connected(self.host, self.port, self.timeout, self._public)
        self.sock = self._trust.wrap_socket(raw, server_hostname=self.host)


class PlainConnection(http.client.HTTPConnection):
    """HTTP, for places that are known to be near."""

    def __init__(self, host: str, port: int, seconds: float, public: Public) -> None:
        """``seconds`` without a byte."""
        super().__init__(host, port, timeout=seconds)
        self._public = public

    def connect(self) -> None:
        """Resolve, look, connect."""
        self.sock = connected(self.host, self.port, self.timeout, self._public)
