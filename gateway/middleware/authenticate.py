"""Who calls: the key or token in the metadata, or nobody in particular where no keys are asked for."""

from __future__ import annotations

from gateway.call import Call
from gateway.keys.ring import KeyRing, unauthenticated
from gateway.keys.tokens import Tokens
from gateway.pipeline import Proceed
from gateway.principal import EVERYBODY, Principal
from services.common.errors import Reason
from services.common.tenants import CALLER_KEY, caller

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
CREDENTIALS = frozenset({AUTHORIZATION, API_KEY, "cookie", "proxy-authorization"})
"""Never go onward: services have no use for them."""
_LONGEST = 6144


class Authenticate:
    """Metadata never says who somebody is; only a key or a token does."""

    def __init__(self, ring: KeyRing, tokens: Tokens | None) -> None:
        self._ring, self._tokens = ring, tokens

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Fill in ``principal`` and tell the service who it is. Raises UNAUTHENTICATED."""
        principal = call.principal = await self._who(call)
        if principal is not EVERYBODY:
            call.onward += ((CALLER_KEY, caller(principal.tenant, principal.name)),)
        await proceed(call)

    async def _who(self, call: Call) -> Principal:
        text = shown(call)
        if not text:
            if self._ring.wanted or self._tokens:
                raise unauthenticated(
                    Reason.KEY_MISSING, "a key is needed: send authorization: Bearer KEY, or x-api-key: KEY"
                )
            return EVERYBODY
        if self._tokens and text.count(".") == 2:
            return await self._tokens.find(text)
        if self._ring.wanted:
            return self._ring.find(text)
        if self._tokens:
            raise unauthenticated(Reason.KEY_INVALID, "this is no token; keys are not taken here")
        return EVERYBODY  # OpenAI's clients always send some key


def shown(call: Call) -> str:
    """The key or token that a call shows; empty for none. Raises UNAUTHENTICATED where it is neither."""
    texts = {_text(key, value) for key, value in call.metadata if key in (API_KEY, AUTHORIZATION)} - {""}
    if len(texts) > 1 or any(len(text) > _LONGEST for text in texts):
        raise unauthenticated(Reason.KEY_INVALID, "two keys, or one that is too long")
    return next(iter(texts), "")


def _text(key: str, value: str | bytes) -> str:
    text = value if isinstance(value, str) else ""
    if key == API_KEY:
        return text.strip()
    scheme, _, rest = text.partition(" ")
    if scheme.lower() != "bearer":
        raise unauthenticated(Reason.KEY_INVALID, "authorization must be: Bearer KEY")
    return rest.strip()
