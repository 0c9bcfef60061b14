"""What stands between callers and services besides routing: keys, tokens, limits, usage, the audit log."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import AuditLog
from gateway.keys.keyfile import KeyFileError
from gateway.keys.ring import KeyRing
from gateway.keys.settings import KeySettings
from gateway.keys.tokens import Tokens
from gateway.limits.account import Accounts
from gateway.limits.slices import Slices
from gateway.settings import GatewaySettings
from gateway.usage.ledger import Ledger
from gateway.usage.store import UsageStore
from services.common.database.database import Database
from services.common.disks import DiskCollector
from services.common.metrics import Metrics
from services.common.settings import SettingsError

_PATIENCE = 1.0
"""Seconds for which a question about shared limits is tried."""


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
    database = await asyncio.to_thread(settings.database.open)
    metrics.registry.register(DiskCollector(_folders(keys, database)))
    ledger = Ledger(UsageStore(database) if database else None, metrics)
    accounts = Accounts(_slices(settings, database))
    following = (ring.follow(), ledger.follow(), accounts.follow())
    followers = [asyncio.create_task(each) for each in following]
    try:
        yield Guard(ring, tokens, accounts, ledger, AuditLog(keys.audit_file))
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        await ledger.close()
        await accounts.tidy()
        await accounts.tidy()  # what the first one found in use is idle now
        if database is not None:
            database.close()


def _folders(keys: KeySettings, database: Database | None) -> dict[str, Path]:
    """What a gateway writes to, by the names that metrics have for it."""
    found = {}
    if keys.audit_file is not None:
        found["audit"] = keys.audit_file.parent
    if database is not None and database.folder is not None:
        found["database"] = database.folder
    return found


def _slices(settings: GatewaySettings, database: Database | None) -> Slices | None:
    """Only a database that others use too needs to be asked for limits."""
    if database is None or not settings.database.shared:
        return None
    # A call waits for the answer, so it must come soon or not at all.
    return Slices(Database(database.engine, _PATIENCE), os.urandom(8).hex())
