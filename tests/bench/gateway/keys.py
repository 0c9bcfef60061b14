"""Keys with every kind of limit on them, so that a gateway does all that it can do for a call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.keys.key import Key, KeyLimits, digest_of, new_key
from gateway.keys.keyfile import editing, make_secret

_PLENTY = KeyLimits(requests_per_minute=1e9, concurrent=10**6, tokens_per_minute=1e12)


@dataclass(frozen=True)
class KeyFolder:
    """Keys of as many tenants, in a folder, with a database for usage beside them."""

    texts: list[str]
    environment: dict[str, str]


def make_keys(folder: Path, tenants: int, limits: KeyLimits = _PLENTY) -> KeyFolder:
    """A key for each tenant."""
    secret = make_secret(folder / "secret")
    texts = []
    with editing(folder / "keys.json") as keys:
        for number in range(tenants):
            shown = new_key()
            texts.append(shown.text)
            keys.append(
                Key(
                    id=shown.id,
                    name="bench",
                    tenant=f"tenant-{number}",
                    digest=digest_of(shown.text, secret),
                    limits=limits,
                    created=datetime.now(UTC),
                )
            )
    return KeyFolder(
        texts,
        {
            "PEQUOD_KEYS_FILE": str(folder / "keys.json"),
            "PEQUOD_KEYS_SECRET_FILE": str(folder / "secret"),
            "PEQUOD_AUDIT_FILE": "",
            "PEQUOD_GATEWAY_DATABASE_URL": f"sqlite:///{folder}/usage.db",
        },
    )
