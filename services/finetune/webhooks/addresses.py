"""Where webhooks may lead: to the public, unless whoever runs the service allows private networks."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """``private``: http and addresses of private networks are allowed too."""

    def __init__(self, private: bool) -> None:
        self._private = private

    def refusal(self, url: str) -> str:
        """Why a URL is none that may be told of jobs; empty when it may. Asks no name server."""
        if not url:
            return "required; it is empty"
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return f"{url[:80]!r} is no URL"
        schemes = ("https", "http") if self._private else ("https",)
        if parts.scheme not in schemes or not host:
            allowed = "https:// or http://" if self._private else "https://"
            return f"{url[:80]!r} must begin with {allowed} and name a host"
        if parts.username or parts.password:
            return "holds a user name or password; the signature tells who calls"
        if not self._private and (host == "localhost" or _is_private(host)):
            return f"{host} is no public address; PEQUOD_WEBHOOK_PRIVATE=1 allows those"
        return ""

    def resolve(self, url: str) -> tuple[str, int]:
        """An address of the URL's host, which may be told, and the port.

        Raises OSError where the host is unknown, or where any address of it is private.
        """
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        hosts = [str(each[4][0]) for each in found]
        for host in hosts:
            if not self._private and _is_private(host):
                raise OSError(f"{parts.hostname} leads to {host}, which is no public address")
        return hosts[0], port


def _is_private(host: str) -> bool:
    """Of a literal address: not one of the public internet. Names are no addresses yet."""
    try:
        address: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global
