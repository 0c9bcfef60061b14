"""What stands between callers and services besides routing: keys, tokens, limits, usage, the audit log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.audit import AuditLog
from gateway.keys.keyfile import KeyFileError
from gateway.keys.ring import KeyRing
from gateway.keys.tokens import Tokens
from gateway.limits.account import Accounts
from gateway.settings import GatewaySettings
from gateway.usage.ledger import Ledger
from services.common.metrics import Metrics
from services.common.settings import SettingsError


@dataclass(frozen=True)
class Guard:
    """Lives as long as the gateway."""

    ring: KeyRing
    tokens: Tokens | None
    accounts: Accounts
    ledger: Ledger
    audit: AuditLog

    @property
    def asks(self) -> str:
        """What callers are asked for; empty: nothing."""
        return "keys" if self.ring.wanted or self.tokens else ""


@contextlib.asynccontextmanager
async def guarding(settings: GatewaySettings, metrics: Metrics) -> AsyncIterator[Guard]:
    """Reads keys, opens the usage database, follows both while the block runs, and writes the rest then.

    Raises SettingsError with a sentence for keys that cannot be used.
    """
    keys = settings.keys
    try:
        ring = KeyRing(keys.file, keys.secret_file)
    except (KeyFileError, OSError) as error:
        raise SettingsError(f"the keys cannot be used: {error}") from None
    tokens = Tokens(keys) if keys.jwks else None
    store = await asyncio.to_thread(settings.usage.open)
    ledger = Ledger(store, metrics)
    followers = [asyncio.create_task(ring.follow()), asyncio.create_task(ledger.follow())]
    try:
        yield Guard(ring, tokens, Accounts(), ledger, AuditLog(keys.audit_file))
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        await ledger.flush()
        if store is not None:
            store.close()
