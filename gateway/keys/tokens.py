"""Signed tokens (JWT, RFC 7519) of an identity provider in place of keys, checked against its JWKS."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jwt

from gateway.keys.key import NAME
from gateway.keys.ring import unauthenticated
from gateway.keys.settings import KeySettings
from gateway.principal import Group, Principal
from services.common.errors import Code, Reason, ServiceError
from services.common.settings import SettingsError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""All of them with a public key: a key set holds no shared secret, and `none` signs nothing."""
SCOPE_PREFIX = "pequod:"
_KEY_SET_SECONDS = 300.0
_LEEWAY_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0
_REMEMBERED = 4096
_NAME = re.compile(NAME)


class Tokens:
    """Checks a token once and remembers it until it expires."""

    def __init__(self, settings: KeySettings) -> None:
        """Raises SettingsError where a key set is named without issuer and audience."""
        if not settings.issuer or not settings.audience:
            raise SettingsError(
                "PEQUOD_JWT_JWKS needs PEQUOD_JWT_ISSUER and PEQUOD_JWT_AUDIENCE: without them any token "
                "that the provider signs, for anybody, would open the platform."
            )
        self._settings = settings
        self._keys = _key_source(settings.jwks)
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def find(self, text: str) -> Principal:
        """Who shows the token. Raises UNAUTHENTICATED; UNAVAILABLE where the key set cannot be had."""
        seen = hashlib.sha256(text.encode()).digest()
        expires, principal = self._known.get(seen, (0.0, None))
        if principal is not None and time.time() < expires:
            return principal
        claims = await asyncio.to_thread(self._claims, text)
        principal = self._principal(claims)
        self._remember(seen, float(claims["exp"]), principal)
        return principal

    def _claims(self, text: str) -> Mapping[str, Any]:
        try:
            key = self._keys.get_signing_key_from_jwt(text)
            claims: Mapping[str, Any] = jwt.decode(
                text,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            what = f"the key set {self._settings.jwks} cannot be had: {str(error)[:200]}"
            raise ServiceError(Code.UNAVAILABLE, Reason.BACKEND_DOWN, what, retry_after=1.0) from None
        except jwt.ExpiredSignatureError:
            raise unauthenticated(Reason.KEY_EXPIRED, "the token has expired") from None
        except jwt.PyJWTError as error:
            raise unauthenticated(Reason.KEY_INVALID, f"the token is not taken: {str(error)[:200]}") from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        claim = self._settings.tenant_claim
        tenant = claims.get(claim)
        if not isinstance(tenant, str) or not _NAME.fullmatch(tenant):
            what = f"the token's claim {claim!r} names no tenant (a-z, 0-9, -; at most 40)"
            raise unauthenticated(Reason.KEY_INVALID, what)
        return Principal(
            tenant=tenant,
            name=f"token:{claims['sub']}"[:80],
            key_id=f"token:{claims['sub']}"[:80],
            groups=frozenset(_groups(claims)),
        )

    def _remember(self, seen: bytes, expires: float, principal: Principal) -> None:
        self._known[seen] = expires, principal
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _groups(claims: Mapping[str, Any]) -> Iterable[Group]:
    """Scopes ``pequod:text`` and so on, or ``pequod:all``; ``scope`` as in RFC 8693, or a list."""
    given = claims.get("scope", "")
    words = given.split() if isinstance(given, str) else [str(each) for each in given]
    names = {word.removeprefix(SCOPE_PREFIX) for word in words if word.startswith(SCOPE_PREFIX)}
    return [group for group in Group if group.value in names or "all" in names]


class _FileKeys:
    """A key set in a file, read for each token that is not known yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get_signing_key_from_jwt(self, token: str) -> jwt.PyJWK:
        """The key of the id in the token's header."""
        key_id = jwt.get_unverified_header(token).get("kid")
        try:
            keys = jwt.PyJWKSet.from_json(self._path.read_text()).keys
        except OSError as error:
            raise jwt.PyJWKClientConnectionError(str(error)) from None
        for key in keys:
            if key.key_id == key_id:
                return key
        raise jwt.InvalidKeyError(f"no key {str(key_id)[:80]!r} in the key set")


def _key_source(jwks: str) -> Any:
    if jwks.startswith(("https://", "http://")):
        return jwt.PyJWKClient(jwks, lifespan=_KEY_SET_SECONDS, timeout=_TIMEOUT_SECONDS, max_cached_keys=64)
    path = Path(jwks)
    if not path.is_file():
        raise SettingsError(f"PEQUOD_JWT_JWKS={jwks!r} is neither an http(s) URL nor a file.")
    return _FileKeys(path)
