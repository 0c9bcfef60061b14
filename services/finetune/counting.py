"""Counts tokens by an encoding of the store."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from services.common import families
from services.common.errors import ServiceError
from services.common.settings import SettingsError
from services.common.store import Kind, ModelStore, ModelVersion
from services.finetune.datasets.checking.check import Tokens
from services.tokenizer import families as encodings
from services.tokenizer.tokens.encoding import Encoding, Specials


class TokenCounter:
    """Found at the start, loaded when it is first needed: many data sets hold no text."""

    def __init__(self, store: ModelStore, reference: str) -> None:
        self._store = store
        self._reference = reference
        self._found: tuple[ModelVersion, Path] | None = None
        self._loaded: Tokens | None = None
        self._lock = threading.Lock()

    async def find(self) -> None:
        """Raises SettingsError when the store has no such encoding."""
        try:
            version = await self._store.resolve(self._reference)
            if version.manifest.kind is not Kind.ENCODING:
                raise SettingsError(_unusable(self._reference, f"it is a {version.manifest.kind}"))
            self._found = version, await self._store.fetch(version)
        except ServiceError as error:
            raise SettingsError(_unusable(self._reference, str(error))) from None

    def load(self) -> Tokens:
        """The encoding, loaded once; blocking."""
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Tokens:
        if self._found is None:
            raise RuntimeError("find comes first")
        version, path = self._found
        family = families.load(encodings, version.manifest.family)
        derive = partial(self._store.derive_now, version)
        encoding: Encoding = family.load(version.manifest.config, path, derive)
        # Special tokens that a text spells count as the text that they are.
        plain = Specials()
        return Tokens(f"{version.name}:{version.version}", lambda text: encoding.count(text, plain))


def _unusable(reference: str, why: str) -> str:
    return f"PEQUOD_FINETUNE_ENCODING={reference!r} is not usable: {why}"
