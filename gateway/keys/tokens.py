"""Signed tokens (JWT, RFC 7519) of an identity provider in place of keys, checked against its JWKS."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import jwt

from gateway.keys.key import NAME
from gateway.keys.keysets import KeySetError, open_key_set
from gateway.keys.ring import unauthenticated
from gateway.keys.settings import KeySettings
from gateway.principal import Group, Principal
from services.common.errors import Code, Reason, ServiceError
from services.common.settings import SettingsError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""All of them with a public key: a key set holds no shared secret, and `none` signs nothing."""
SCOPE_PREFIX = "pequod:"
_LEEWAY_SECONDS = 10.0
_REMEMBERED, _REMEMBERED_SECONDS = 4096, 300.0
_NAME = re.compile(NAME)

_logger = logging.getLogger("pequod.gateway.keys")


class Tokens:
    """Checks a token, and again after some minutes."""

    def __init__(self, settings: KeySettings) -> None:
        """Raises SettingsError where a key set is named without issuer and audience."""
        if not settings.issuer or not settings.audience:
            raise SettingsError(
                "PEQUOD_JWT_JWKS needs PEQUOD_JWT_ISSUER and PEQUOD_JWT_AUDIENCE: without them any token "
                "that the provider signs, for anybody, would open the platform."
            )
        self._settings = settings
        self._keys = open_key_set(settings.jwks)
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    async def find(self, text: str) -> Principal:
        """Who shows the token. Raises UNAUTHENTICATED; UNAVAILABLE where the key set cannot be had."""
        seen = hashlib.sha256(text.encode()).digest()
        expires, principal = self._known.get(seen, (0.0, None))
        if principal is not None and time.time() < expires:
            return principal
        claims = await asyncio.to_thread(self._claims, text)
        principal = self._principal(claims)
        self._remember(seen, _expiry(claims["exp"]), principal)
        return principal

    def _claims(self, text: str) -> Mapping[str, Any]:
        try:
            key = self._keys.key_of(text)
            claims: Mapping[str, Any] = jwt.decode(
                text,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except KeySetError as error:
            # Where it is and what is wrong with it is not for whoever knocks.
            _logger.warning("no key set", extra={"jwks": self._settings.jwks, "error": str(error)[:500]})
            what = "the key set that signs tokens cannot be had now"
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


def _expiry(exp: Any) -> float:
    """Until when a token is not looked at again: what its provider takes back is gone within minutes."""
    soon = time.time() + _REMEMBERED_SECONDS
    try:
        return min(float(exp), soon)
    except OverflowError:  # a whole number of any length is a time, says the library
        return soon


def _groups(claims: Mapping[str, Any]) -> Iterable[Group]:
    """Scopes ``pequod:text`` and so on, or ``pequod:all``; ``scope`` as in RFC 8693, or a list."""
    given = claims.get("scope", "")
    words = given.split() if isinstance(given, str) else map(str, given if isinstance(given, list) else ())
    names = {word.removeprefix(SCOPE_PREFIX) for word in words if word.startswith(SCOPE_PREFIX)}
    return [group for group in Group if group.value in names or "all" in names]
