"""The keys that open the platform now: looked up for each call, read again when their file changes."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from gateway.keys.key import Key, digest_of, id_in
from gateway.keys.keyfile import KeyFileError, read_keys, read_secret
from gateway.principal import Principal
from services.common.errors import Code, Reason, ServiceError
from services.common.stamps import Stamp, stamp_of

POLL_SECONDS = 1.0

_logger = logging.getLogger("pequod.gateway.keys")


@dataclass(frozen=True)
class _Held:
    """What one reading of the files gave."""

    secret: bytes = b""
    keys: Mapping[str, Key] = field(default_factory=dict)
    principals: Mapping[str, Principal] = field(default_factory=dict)


class KeyRing:
    """Keys of a file. A file that cannot be used leaves the keys of before in force."""

    def __init__(
        self, file: Path | None, secret_file: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Reads the files. Raises KeyFileError or OSError where they are there and cannot be used."""
        self._file, self._secret_file, self._now = file, secret_file, now
        self._held = _Held()
        self._stamp: Stamp = None
        self._load()

    @property
    def wanted(self) -> bool:
        """Whether calls need a key: once there has been a key file, until the process ends."""
        return self._stamp is not None

    def find(self, text: str) -> Principal:
        """Who shows ``text``. Raises UNAUTHENTICATED, which tells nothing of keys not shown whole."""
        held = self._held
        key = held.keys.get(id_in(text) or "")
        expected = key.digest if key else "0" * 64
        matches = hmac.compare_digest(digest_of(text, held.secret), expected)
        if key is None or not matches:
            raise unauthenticated(Reason.KEY_INVALID, "the key is not known here")
        if key.revoked is not None:
            raise unauthenticated(Reason.KEY_INVALID, f"key {key.id} was revoked at {key.revoked:%F %T %Z}")
        if not key.lives(self._now()):
            raise unauthenticated(Reason.KEY_EXPIRED, f"key {key.id} expired at {key.expires:%F %T %Z}")
        return held.principals[key.id]

    def principals(self) -> list[Principal]:
        """Everybody with a living key."""
        now = self._now()
        return [self._held.principals[key.id] for key in self._held.keys.values() if key.lives(now)]

    async def follow(self, changed: Callable[[], None] = lambda: None) -> None:
        """Look at the file every second, until cancelled; ``changed`` is called after it was read again."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self.look():
                changed()

    def look(self) -> bool:
        """Read the file if it is another one than before; whether its keys are in force now."""
        if self._stamp == stamp_of(self._file):
            return False
        try:
            before = self._held.keys
            self._load()
        except (KeyFileError, OSError) as error:
            self._stamp = stamp_of(self._file) or self._stamp  # the same file is not tried again
            _logger.error("keys not read again", extra={"error": str(error)})
            return False
        _logger.info("keys read again", extra=_difference(before, self._held.keys))
        return True

    def _load(self) -> None:
        stamp = stamp_of(self._file)
        if stamp is None or self._file is None:
            if self._stamp is not None:
                raise KeyFileError(f"{self._file} is gone; the keys of before stay in force")
            return
        keys = read_keys(self._file)
        secret = read_secret(self._secret_file)
        self._held = _Held(secret, {key.id: key for key in keys}, {key.id: key.principal() for key in keys})
        self._stamp = stamp


def unauthenticated(reason: Reason, message: str) -> ServiceError:
    """The caller is not let in."""
    return ServiceError(Code.UNAUTHENTICATED, reason, message)


def _difference(before: Mapping[str, Key], after: Mapping[str, Key]) -> dict[str, list[str]]:
    changed = [each for each in after.keys() & before.keys() if after[each] != before[each]]
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(changed),
    }
