"""Where webhooks may lead: to the public, unless whoever runs the service allows private networks."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from services.common.web import Address, address_in, is_public


class Addresses:
    """``private``: http and addresses of private networks are allowed too."""

    def __init__(self, private: bool) -> None:
        self._private = private

    def refusal(self, url: str) -> str:
        """Why a URL is none that may be told of jobs; empty when it may. Asks no name server."""
        if not url:
            return "required; it is empty"
        try:
            parts = _split(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            return f"{url[:80]!r} is no URL: {error}"
        schemes = ("https", "http") if self._private else ("https",)
        if parts.scheme not in schemes or not host:
            allowed = "https:// or http://" if self._private else "https://"
            return f"{url[:80]!r} must begin with {allowed} and name a host"
        if parts.username or parts.password:
            return "holds a user name or password; the signature tells who calls"
        if not self._private and (host.rstrip(".") == "localhost" or _is_private(host)):
            return f"{host} is no public address; PEQUOD_WEBHOOK_PRIVATE=1 allows those"
        return ""

    def is_allowed(self, address: Address) -> bool:
        """Whether an address that a name leads to may be connected to."""
        return self._private or is_public(address)


def _split(url: str) -> SplitResult:
    """Raises ValueError, also for characters that Python's own reading drops without a word."""
    if " " in url or not url.isprintable():
        raise ValueError("it holds a space or a character that is none")
    return urlsplit(url)


def _is_private(host: str) -> bool:
    """Of a literal address: not one of the public internet. Names are no addresses yet."""
    address = address_in(host)
    return address is not None and not is_public(address)
