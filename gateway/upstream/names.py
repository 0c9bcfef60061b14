"""Host names that stand for many replicas, as that of a headless Service does: each address is a backend."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable

from gateway.upstream.backend import Backend
from gateway.upstream.pool import Pool
from gateway.upstream.trust import Credentials

LOOK_SECONDS = 2.0
"""Between looks at what a name stands for."""

_logger = logging.getLogger("pequod.gateway")

Lookup = Callable[[str], Awaitable[set[str]]]
"""The addresses of a host name. Raises OSError when it has none, or nobody can be asked."""


def is_name(address: str) -> bool:
    """Whether ``address``, host:port, names a host instead of giving its IP address."""
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return True
    return False


async def lookup(host: str) -> set[str]:
    """Asks the system's resolver.

    Only one family counts: a replica that has an address of each is still one replica.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    four = {str(where[0]) for family, *_, where in found if family == socket.AF_INET}
    return four or {f"[{where[0]}]" for *_, where in found}


class Named:
    """Keeps the backends of ``pool`` true to what ``address``, name:port, stands for."""

    def __init__(
        self,
        address: str,
        pool: Pool,
        credentials: Credentials = lambda: None,
        resolver: Lookup | None = None,
    ) -> None:
        """``resolver``: in place of the system's."""
        self._host, _, self._port = address.rpartition(":")
        self._pool = pool
        self._credentials = credentials
        self._lookup = resolver or lookup
        self._members: dict[str, Backend] = {}
        self._lost = False

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """New addresses join at once; those that are gone leave when they neither serve nor have calls.

        A replica that drains is out of the name before its calls have ended. A name that cannot be
        looked up changes nothing.
        """
        try:
            hosts = await self._lookup(self._host)
        except (OSError, UnicodeError) as error:  # the latter for what can be no host name
            self._say_lost(error)
            return
        self._lost = False
        found = {f"{host}:{self._port}" for host in hosts}
        for address in sorted(found - self._members.keys()):
            self._members[address] = Backend(address, self._credentials, self._host)
            self._pool.join(self._members[address])
        for address in self._members.keys() - found:
            if not self._members[address].busy:
                await self._pool.leave(self._members.pop(address))

    def _say_lost(self, error: Exception) -> None:
        if not self._lost:
            _logger.warning("name not found", extra={"host": self._host, "error": str(error)})
        self._lost = True
