"""JSON Web Key Sets (RFC 7517) that sign tokens: in a file, or at the URL of an identity provider."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import jwt

from services.common.settings import SettingsError

_SECONDS = 300.0
"""A set is fetched again after this, and sooner for a key that it lacks."""
_TIMEOUT_SECONDS = 5.0
_AWAY_SECONDS = 1.0
"""A provider that did not answer is not asked for this long: anybody's token would hold a thread waiting."""
_NO_SET = (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError)
"""What becomes of a file or a reply that is not there, no JSON, or of keys that lack what they are made of:
the library skips some of those, and falls over others."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class KeySetError(Exception):
    """The set cannot be had, or is none; whose token it is has nothing to do with it."""


class KeySet(Protocol):
    """Blocking."""

    def key_of(self, token: str) -> jwt.PyJWK:
        """The key that the token's header names. Raises KeySetError, jwt.PyJWTError."""
        ...


def open_key_set(jwks: str) -> KeySet:
    """The set at a URL or in a file. Raises SettingsError for neither, and for one that comes in clear."""
    if jwks.startswith(("https://", "http://")):
        parts = urlsplit(jwks)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise SettingsError(
                f"PEQUOD_JWT_JWKS={jwks!r}: keys that come over http:// could be anybody's; use https://"
            )
        return _Remote(jwks)
    path = Path(jwks)
    if not path.is_file():
        raise SettingsError(f"PEQUOD_JWT_JWKS={jwks!r} is neither an http(s) URL nor a file.")
    return _File(path)


class _File:
    """Read for each token that is not known yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def key_of(self, token: str) -> jwt.PyJWK:
        """See ``KeySet``."""
        key_id = jwt.get_unverified_header(token).get("kid")
        try:
            keys = jwt.PyJWKSet.from_json(self._path.read_text()).keys
        except _NO_SET as error:
            raise KeySetError(f"{self._path} holds no key set: {type(error).__name__}: {error}") from None
        for key in keys:
            if key.key_id == key_id:
                return key
        raise jwt.InvalidKeyError(f"no key {str(key_id)[:80]!r} in the key set")


class _Remote:
    """Fetched, kept for a while, and fetched again at most twice a minute for keys that it lacks."""

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, lifespan=_SECONDS, timeout=_TIMEOUT_SECONDS)
        self._away_until = 0.0

    def key_of(self, token: str) -> jwt.PyJWK:
        """See ``KeySet``."""
        if time.monotonic() < self._away_until:
            raise KeySetError("it did not answer a moment ago")
        try:
            self._known()
            return self._client.get_signing_key_from_jwt(token)
        except (*_NO_SET, KeySetError, jwt.PyJWKClientConnectionError) as error:
            self._away_until = time.monotonic() + _AWAY_SECONDS
            raise KeySetError(f"{type(error).__name__}: {error}") from None

    def _known(self) -> None:
        """Have the set, mostly from before. What is no set is no caller's fault."""
        try:
            self._client.get_jwk_set()
        except jwt.PyJWTError as error:
            raise KeySetError(str(error)) from None
