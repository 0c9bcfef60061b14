"""A web page whose own name leads to this machine gets nothing of a platform that asks for no keys."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.models import LIST_MODELS
from gateway.routes.rebound import OnlyByItsNames, name_in
from gateway.settings import Listeners
from pequod.model.v1 import ListModelsResponse
from tests.unit.gateway import fakes
from tests.unit.gateway.fakes import FakeBackend, backends, gateway
from tests.unit.gateway.key_parts import Keys

STRANGER = {"host": "evil.example:8080", "origin": "http://evil.example:8080"}
PATHS = ("/", "/v1/models", "/v2", "/readyz", "/openapi.json", LIST_MODELS)


def models():
    async def behaviour(request, context):
        return ListModelsResponse().SerializeToString()

    return FakeBackend(**{LIST_MODELS: behaviour})


async def test_a_stranger_by_name_is_refused_everywhere():
    backend = models()
    async with backends(backend), gateway(sampler=[backend]) as door:
        for path in PATHS:
            for method in ("GET", "POST"):
                reply = await door.http.request(method, path, headers=STRANGER, json={})
                assert reply.status_code == 403, (method, path)
                assert reply.json()["error"]["details"][0]["reason"] == "NOT_ALLOWED"
        assert "PEQUOD_GATEWAY_NAMES" in reply.json()["error"]["message"]
        for host in (
            "127.0.0.1:8080",
            "localhost:1",
            "LOCALHOST.",
            "page.localhost:80",
            "[::1]:8080",
            "10.0.0.9",
        ):
            reply = await door.http.post(LIST_MODELS, headers={"host": host}, json={})
            assert reply.status_code == 200, host


@pytest.mark.parametrize(("names", "status"), [((), 200), (("gateway",), 403)])
async def test_beyond_loopback_only_where_names_are_given(monkeypatch, names, status):
    monkeypatch.setattr("gateway.app.is_loopback", lambda host: False)
    monkeypatch.setattr(fakes, "Listeners", partial(Listeners, names=names))
    backend = models()
    async with backends(backend), gateway(sampler=[backend]) as door:
        assert (await door.http.post(LIST_MODELS, headers=STRANGER, json={})).status_code == status
        assert (await door.http.post(LIST_MODELS, headers={"host": "gateway"}, json={})).status_code == 200


async def test_where_keys_are_asked_for_any_name_will_do(tmp_path):
    keys, backend = Keys(tmp_path), models()
    allowed = {"authorization": f"Bearer {keys.add('mine')}"}
    async with backends(backend), gateway(settings={"keys": keys.settings}, sampler=[backend]) as door:
        assert (await door.http.post(LIST_MODELS, headers=STRANGER, json={})).status_code == 401
        assert (await door.http.post(LIST_MODELS, headers=STRANGER | allowed, json={})).status_code == 200


@pytest.mark.parametrize(
    ("host", "passes"),
    [("lab.example", True), ("Lab.Example:8080", True), ("a.lab.example", False), ("127.0.0.1.evil", False)],
)
async def test_a_name_of_ones_own_can_be_given(host, passes):
    seen = []

    async def app(scope, receive, send):
        seen.append("app")

    async def send(message):
        seen.append(message.get("status"))

    door = OnlyByItsNames(app, ("lab.example",), lambda: True)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode())]}
    await door(scope, None, send)
    assert seen[0] == ("app" if passes else 403)


async def test_what_is_no_request_or_names_no_host_passes():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    door = OnlyByItsNames(app, (), lambda: True)
    await door({"type": "lifespan"}, None, None)
    await door({"type": "http", "headers": []}, None, None)  # HTTP/1.0, as no browser speaks it
    assert seen == ["lifespan", "http"]


def test_the_name_in_a_host():
    assert [name_in(each) for each in ("A.b:1", "[fe80::1]:80", "c.", "")] == ["a.b", "fe80::1", "c", ""]
