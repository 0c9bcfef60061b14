"""Whose call is being served, and what of the platform's records that tenant may see.

The gateway says it in metadata that no caller can set; a service reached without one serves the tenant
``local``. Records of ``local`` are everybody's to use, among them every shipped model; any other record
is its tenant's alone. Code that runs outside calls (following the store, preloading) sees all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar, Token

LOCAL = "local"
"""The tenant of a platform without keys, and of what is shared by all tenants."""
CALLER_KEY = "x-pequod-caller"
"""Metadata in which the gateway tells who calls: TENANT/NAME. Without it the tenant is ``local``."""

_acting: ContextVar[str | None] = ContextVar("tenant", default=None)


def caller(tenant: str, name: str) -> str:
    """What stands under CALLER_KEY."""
    return f"{tenant}/{name}"


def tenant_of(caller: str) -> str:
    """Whose call it is."""
    return caller.partition("/")[0] or LOCAL


def current() -> str:
    """The tenant of the call being served."""
    return _acting.get() or LOCAL


def sees(owner: str) -> bool:
    """Whether the call being served may use a record of ``owner``."""
    acting = _acting.get()
    return acting is None or owner in (LOCAL, acting)


def owns(owner: str) -> bool:
    """Whether the call being served may change a record of ``owner``."""
    acting = _acting.get()
    return acting is None or owner == acting


def begin(tenant: str) -> Token[str | None]:
    """Serve ``tenant`` until ``end``."""
    return _acting.set(tenant)


def end(token: Token[str | None]) -> None:
    """Back to whom the call was served for before."""
    # An abandoned stream is closed from another context, where the token means nothing.
    with contextlib.suppress(ValueError):
        _acting.reset(token)


@contextlib.contextmanager
def acting_for(tenant: str) -> Iterator[None]:
    """Serve ``tenant`` while the block runs."""
    token = begin(tenant)
    try:
        yield
    finally:
        end(token)
