"""Tokens of an identity provider in place of keys."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fakes import GENERATE, UPLOAD, FakeBackend, backends, gateway, reason
from key_parts import Keys, bearer

from gateway.keys.settings import KeySettings
from gateway.keys.tokens import Tokens
from gateway.principal import Group
from services.common.errors import Code, Reason, ServiceError
from services.common.settings import SettingsError

ISSUER, AUDIENCE = "https://issuer.test", "pequod"


class Provider:
    """An identity provider: its keys, the tokens that it signs, and a server of its key set."""

    def __init__(self):
        self.keys = {
            "rsa": ("RS256", rsa.generate_private_key(65537, 2048)),
            "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
            "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
        }
        self.asked = 0

    def key_set(self):
        described = []
        for key_id, (algorithm, key) in self.keys.items():
            made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
            described.append({**made, "kid": key_id, "alg": algorithm, "use": "sig"})
        return json.dumps({"keys": described})

    def token(self, key_id="ec", signed_with=None, drop=(), headers=None, **claims):
        algorithm, key = self.keys[signed_with or key_id]
        body = {
            **{"iss": ISSUER, "aud": AUDIENCE, "sub": "ishmael", "exp": time.time() + 600},
            **{"tenant": "acme", "scope": "openid pequod:text", **claims},
        }
        body = {name: value for name, value in body.items() if name not in drop}
        return jwt.encode(body, key, algorithm, headers={"kid": key_id, **(headers or {})})


@pytest.fixture(scope="module")
def provider():
    return Provider()


@pytest.fixture
def key_set(provider, tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(provider.key_set())
    return file


def settings(jwks, **fields):
    return KeySettings(file=None, audit_file=None, jwks=str(jwks), issuer=ISSUER, audience=AUDIENCE, **fields)


async def refusal(tokens, text):
    with pytest.raises(ServiceError) as caught:
        await tokens.find(text)
    return caught.value


@pytest.mark.parametrize("key_id", ["rsa", "ec", "ed"])
async def test_a_token_says_tenant_name_and_groups(provider, key_set, key_id):
    who = await Tokens(settings(key_set)).find(provider.token(key_id))
    assert (who.tenant, who.name, who.groups) == ("acme", "token:ishmael", {Group.TEXT})


async def test_scopes_as_a_list_and_all_of_them(provider, key_set):
    tokens = Tokens(settings(key_set))
    who = await tokens.find(provider.token(scope=["pequod:images", "pequod:nonsense"]))
    assert who.groups == {Group.IMAGES}
    assert (await tokens.find(provider.token(scope="pequod:all"))).groups == set(Group)
    assert (await tokens.find(provider.token(drop=["scope"]))).groups == set()


async def test_another_claim_may_name_the_tenant(provider, key_set):
    tokens = Tokens(settings(key_set, tenant_claim="org"))
    assert (await tokens.find(provider.token(org="other"))).tenant == "other"


@pytest.mark.parametrize(
    ("claims", "reason_told"),
    [
        ({"exp": 1}, Reason.KEY_EXPIRED),
        ({"iss": "https://elsewhere.test"}, Reason.KEY_INVALID),
        ({"aud": "another"}, Reason.KEY_INVALID),
        ({"signed_with": "ed", "key_id": "ec"}, Reason.KEY_INVALID),
        ({"key_id": "ec", "headers": {"kid": "unknown"}}, Reason.KEY_INVALID),
        ({"nbf": time.time() + 3600}, Reason.KEY_INVALID),
        ({"tenant": "../etc"}, Reason.KEY_INVALID),
        ({"tenant": 7}, Reason.KEY_INVALID),
        *[({"drop": [claim]}, Reason.KEY_INVALID) for claim in ("exp", "iss", "aud", "sub", "tenant")],
    ],
)
async def test_a_token_that_is_not_right_opens_nothing(provider, key_set, claims, reason_told):
    error = await refusal(Tokens(settings(key_set)), provider.token(**claims))
    assert (error.code, error.reason) == (Code.UNAUTHENTICATED, reason_told)


def signed_by_hand(claims, secret):
    """HS256 with any secret; the library refuses to make such tokens."""
    parts = ({"alg": "HS256", "kid": "ec"}, claims)
    body = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = hmac.digest(secret.encode(), body, "sha256")
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


async def test_neither_unsigned_tokens_nor_shared_secrets_are_taken(provider, key_set):
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "x", "exp": time.time() + 60, "tenant": "acme"}
    tokens = Tokens(settings(key_set))
    unsigned = jwt.encode(claims, None, "none", headers={"kid": "ec"})
    # The known trick: the public key, which everybody has, as a shared secret.
    shared = signed_by_hand(claims, provider.key_set())
    for text in (unsigned, shared, "a.b.c", ".."):
        assert (await refusal(tokens, text)).code is Code.UNAUTHENTICATED


async def test_a_token_is_remembered_until_it_expires(provider, key_set, monkeypatch):
    tokens = Tokens(settings(key_set))
    text = provider.token()
    first = await tokens.find(text)
    key_set.write_text('{"keys": []}')
    assert await tokens.find(text) is first
    later = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: later)
    assert (await refusal(tokens, text)).code is Code.UNAUTHENTICATED


async def test_a_new_key_in_the_file_is_taken(key_set):
    tokens, other = Tokens(settings(key_set)), Provider()
    text = other.token()
    assert (await refusal(tokens, text)).reason is Reason.KEY_INVALID
    key_set.write_text(other.key_set())
    assert (await tokens.find(text)).tenant == "acme"


@pytest.fixture
def served(provider):
    """The URL of the key set on a real HTTP server; (url, server)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            provider.asked += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(provider.key_set().encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    provider.asked = 0
    yield f"http://127.0.0.1:{server.server_port}/jwks"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_the_key_set_is_fetched_once(provider, served):
    tokens = Tokens(settings(served))
    for number in range(3):
        await tokens.find(provider.token(sub=f"user {number}"))
    assert provider.asked == 1


async def test_a_key_set_that_cannot_be_had_is_our_trouble(provider):
    error = await refusal(Tokens(settings("http://127.0.0.1:1/jwks")), provider.token())
    assert (error.code, error.reason) == (Code.UNAVAILABLE, Reason.BACKEND_DOWN)
    assert error.retry_after == 1.0


async def test_where_the_key_set_is_stays_in_the_log(provider, caplog):
    error = await refusal(Tokens(settings("http://127.0.0.1:1/secret-path")), provider.token())
    assert "secret-path" not in error.message
    assert "secret-path" in caplog.records[-1].jwks


async def test_a_provider_that_is_away_is_not_asked_by_every_token(provider, served, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    tokens, asked = Tokens(settings(served)), []
    fetch = tokens._keys._client.fetch_data

    def away():
        asked.append(1)
        raise jwt.PyJWKClientConnectionError("away")

    tokens._keys._client.fetch_data = away
    for _ in range(3):
        assert (await refusal(tokens, provider.token())).code is Code.UNAVAILABLE
    assert len(asked) == 1
    tokens._keys._client.fetch_data = fetch
    now += 2
    assert (await tokens.find(provider.token())).tenant == "acme"


BROKEN = ["", "{", "[]", '"a"', "5", "[" * 100_000, '{"keys": [{"kty": "oct", "kid": "k"}]}']


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_file_that_is_no_key_set_is_our_trouble(provider, tmp_path, broken):
    file = tmp_path / "jwks.json"
    file.write_text(broken)
    assert (await refusal(Tokens(settings(file)), provider.token())).code is Code.UNAVAILABLE


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_reply_that_is_no_key_set_is_our_trouble(provider, served, broken, monkeypatch):
    monkeypatch.setattr(provider, "key_set", lambda: broken)
    assert (await refusal(Tokens(settings(served)), provider.token())).code is Code.UNAVAILABLE


async def test_claims_of_odd_kinds_are_no_bug(provider, key_set):
    tokens = Tokens(settings(key_set))
    for odd in ({"exp": 10**400}, {"scope": 5}, {"scope": {"a": 1}}):
        principal = await tokens.find(provider.token(**odd))
        assert principal.tenant == "acme"


def test_keys_that_come_in_the_clear_stop_the_start():
    with pytest.raises(SettingsError, match="could be anybody's"):
        Tokens(settings("http://identity.example/jwks"))


def test_a_key_set_without_issuer_and_audience_stops_the_start(key_set):
    for issuer, audience in (("", AUDIENCE), (ISSUER, "")):
        with pytest.raises(SettingsError, match="any token"):
            Tokens(KeySettings(jwks=str(key_set), issuer=issuer, audience=audience))
    with pytest.raises(SettingsError, match="neither an http"):
        Tokens(settings("none.json"))


async def test_tokens_and_keys_at_one_door(provider, key_set, tmp_path):
    keys = Keys(tmp_path)
    key = keys.add("by-key", tenant="keyed")
    both = KeySettings(
        **{**vars(keys.settings), "jwks": str(key_set), "issuer": ISSUER, "audience": AUDIENCE}
    )
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(settings={"keys": both}, sampler=[backend], finetune=[backend]) as door,
    ):
        for text, tenant in ((key, "keyed"), (provider.token(), "acme")):
            await door.stub(GENERATE)(b"", metadata=bearer(text))
            assert backend.seen[-1][1]["x-pequod-caller"].startswith(f"{tenant}/")
        call = door.stub(UPLOAD)(iter([b""]), metadata=bearer(provider.token()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code(), reason(caught.value)) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "NOT_ALLOWED",
        )
