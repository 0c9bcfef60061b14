"""Keys for tests: a file of them, and what their holders show."""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.keys.key import Key, KeyLimits, digest_of, new_key
from gateway.keys.keyfile import editing, make_secret
from gateway.keys.settings import KeySettings


class Keys:
    """A key file in a folder."""

    def __init__(self, folder):
        self.settings = KeySettings(
            file=folder / "keys.json", secret_file=folder / "secret", audit_file=folder / "audit.jsonl"
        )
        self.secret = make_secret(self.settings.secret_file)

    def add(self, name="someone", limits=None, **fields):
        """A new key's text."""
        shown = new_key()
        key = Key(
            id=shown.id,
            name=name,
            digest=digest_of(shown.text, self.secret),
            limits=KeyLimits(**(limits or {})),
            **{"created": datetime.now(UTC), **fields},
        )
        with editing(self.settings.file) as keys:
            keys.append(key)
        return shown.text

    def change(self, text, **fields):
        """Change the key whose text is shown."""
        with editing(self.settings.file) as keys:
            place = next(i for i, key in enumerate(keys) if key.id == text.split("_")[1])
            keys[place] = keys[place].model_copy(update=fields)


def bearer(text):
    """The metadata that shows a key."""
    return (("authorization", f"Bearer {text}"),)
