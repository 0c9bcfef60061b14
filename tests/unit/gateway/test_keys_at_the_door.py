"""Keys at both doors: who is let in, what a service is told, what is written down."""

from __future__ import annotations

import asyncio
import json
import time

import grpc
import pytest
from fakes import EMBED_STREAM, GENERATE, METHODS, UPLOAD, FakeBackend, backends, gateway, reason, replies
from key_parts import Keys, bearer
from openai_parts import Sampler, failing

from gateway.audit import AuditLog
from gateway.call import Call
from gateway.groups import group_table
from gateway.keys import ring
from gateway.methods import method_table
from gateway.middleware.audited import Audited
from gateway.models import GET_MODEL
from gateway.principal import Group
from pequod.finetune.v1 import UploadDatasetRequest
from pequod.sampler.v1 import GenerateRequest
from pequod.tokenizer.v1 import EmbedStreamRequest
from services.common.catalogue import SERVICES
from services.common.errors import Code, Reason, ServiceError


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


@pytest.fixture
async def backend():
    async with backends(FakeBackend()) as (fake,):
        yield fake


@pytest.fixture
async def door(backend, keys):
    keys.add("first")  # a file must be there when the gateway starts
    services = {"sampler": [backend], "tokenizer": [backend], "finetune": [backend]}
    async with gateway(settings={"keys": keys.settings}, **services) as started:
        yield started


async def seen(keys, monkeypatch):
    """Wait until a gateway has looked at the key file again."""
    await asyncio.sleep(3 * ring.POLL_SECONDS)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(ring, "POLL_SECONDS", 0.02)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_without_a_key_nothing_is_forwarded(door, backend):
    error = await refused(door.stub(GENERATE)(b""))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
    assert backend.calls() == 0


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
async def test_a_key_tells_the_service_its_tenant_and_stays_here(door, backend, keys, name, monkeypatch):
    text = keys.add("writer", tenant="acme")
    await seen(keys, monkeypatch)
    shown = f"Bearer {text}" if name == "authorization" else text
    await door.stub(GENERATE)(b"", metadata=((name, shown), ("x-pequod-caller", "other/x")))
    arrived = backend.seen[-1][1]
    assert arrived["x-pequod-caller"] == "acme/writer"
    assert text not in str(arrived)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ((("authorization", "Basic abc"),), "Bearer KEY"),
        ((("authorization", "Bearer nonsense"),), "not known"),
        ((("authorization", "Bearer a"), ("x-api-key", "b")), "two keys"),
        ((("x-api-key", "a" * 7000),), "too long"),
    ],
)
async def test_what_is_no_key_is_refused(door, metadata, words):
    error = await refused(door.stub(GENERATE)(b"", metadata=metadata))
    assert (error.code(), reason(error)) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
    assert words in error.details()


async def test_a_key_opens_its_groups_only(door, backend, keys, monkeypatch):
    text = keys.add("texts", groups=(Group.TEXT,))
    await seen(keys, monkeypatch)
    assert await door.stub(GENERATE)(b"", metadata=bearer(text)) == b""
    error = await refused(door.stub(UPLOAD)(iter([b""]), metadata=bearer(text)))
    assert (error.code(), reason(error)) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    assert "needs finetune; this key may use text" in error.details()
    assert backend.calls(UPLOAD) == 0


def test_every_method_has_its_groups():
    table = group_table(method_table(SERVICES))
    assert all(table.values())
    looking = "/pequod.model.v1.ModelService/GetModel"
    assert set(table[looking]) == set(Group)
    assert table["/pequod.model.v1.ModelService/LoadModel"] == (Group.OPERATE,)
    assert table["/pequod.gan.v1.GanService/Sample"] == (Group.FACES,)


async def test_openais_door_takes_a_key_for_texts_only(door, backend, keys, monkeypatch):
    """It looks at the model before it asks for text."""
    nobody = failing(ServiceError(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "no such model"))
    backend.on(GENERATE, Sampler().generate).on(GET_MODEL, nobody)
    headers = {"authorization": f"Bearer {keys.add('texts', groups=(Group.TEXT,))}"}
    await seen(keys, monkeypatch)
    reply = await door.http.post("/v1/completions", json={"model": "m", "prompt": "x"}, headers=headers)
    assert reply.status_code == 200, reply.text
    reply = await door.http.post("/v1/embeddings", json={"model": "m", "input": "x"}, headers=headers)
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "NOT_ALLOWED"
    assert reply.json()["error"]["type"] == "permission_error"
    reply = await door.http.post("/v1/completions", json={"model": "m", "prompt": "x"})
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "KEY_MISSING"


async def test_a_key_opens_its_models_only(door, backend, keys, monkeypatch):
    text = keys.add("some", models=("story*", "moby-ngram"))
    await seen(keys, monkeypatch)

    def generate(**fields):
        request = GenerateRequest(**fields).SerializeToString()
        return door.stub(GENERATE)(request, metadata=bearer(text))

    await generate(model="storyteller:1")
    await generate(model="moby-ngram@production")
    assert "not 'gpt2'" in (await refused(generate(model="gpt2"))).details()
    assert "not 'secret'" in (await refused(generate(model="storyteller", adapter="secret@x"))).details()
    error = await refused(generate(prompt="which model?"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "name one" in error.details()
    assert backend.calls() == 2


async def test_a_streams_first_message_names_its_model_and_goes_onward(door, backend, keys, monkeypatch):
    text = keys.add("some", models=("minilm",))
    await seen(keys, monkeypatch)

    async def bulk(model):
        first = EmbedStreamRequest(model=model).SerializeToString()
        call = door.stub(EMBED_STREAM)(iter([first, b"\x12\x00"]), metadata=bearer(text))
        return first, await replies(call)

    first, got = await bulk("minilm")
    assert got == [first, b"\x12\x00"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bulk("words")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_http_callers_show_keys_too(door, backend, keys, monkeypatch):
    text = keys.add("web", tenant="acme")
    await seen(keys, monkeypatch)
    reply = await door.http.post(GENERATE, json={})
    assert reply.status_code == 401
    assert reply.json()["error"]["details"][0]["reason"] == "KEY_MISSING"
    reply = await door.http.post(GENERATE, json={}, headers={"authorization": f"Bearer {text}"})
    assert reply.status_code == 200
    assert backend.seen[-1][1]["x-pequod-caller"] == "acme/web"


async def test_a_key_in_an_url_opens_nothing(door, keys, backend, monkeypatch):
    text = keys.add("careless")
    await seen(keys, monkeypatch)
    reply = await door.http.post(f"{GENERATE}?api_key={text}", json={})
    assert reply.status_code == 401
    assert text not in reply.text
    assert backend.calls() == 0


async def test_health_needs_no_key(door):
    assert (await door.http.get("/healthz")).status_code == 200
    assert (await door.readyz())["ready"]


async def test_changes_are_written_down_and_prompts_are_not(door, keys, monkeypatch):
    text, texts = keys.add("trainer", tenant="acme"), keys.add("texts", groups=("text",))
    await seen(keys, monkeypatch)
    start = UploadDatasetRequest()
    start.start.display_name = "cats"
    await door.stub(UPLOAD)(iter([start.SerializeToString()]), metadata=bearer(text))
    await door.stub(GENERATE)(GenerateRequest(prompt="hush").SerializeToString(), metadata=bearer(text))
    await refused(door.stub(UPLOAD)(iter([b"no message"]), metadata=bearer(texts)))
    lines = [json.loads(line) for line in keys.settings.audit_file.read_text().splitlines()]
    ends = [(line["name"], line["code"]) for line in lines]
    assert ends == [("trainer", "OK"), ("texts", "PERMISSION_DENIED")]
    assert lines[0]["tenant"] == "acme"
    assert lines[0]["method"] == UPLOAD[1:]
    assert lines[0]["about"] == {"display_name": "cats"}
    assert "hush" not in keys.settings.audit_file.read_text()


async def test_a_bug_is_no_cancelled_call_in_the_audit_log(tmp_path):
    async def broken(_call):
        raise ZeroDivisionError

    step = Audited(method_table(SERVICES), AuditLog(tmp_path / "audit.jsonl"))
    call = Call(METHODS[UPLOAD], (), b"", None, None, deadline=time.monotonic() + 60)
    with pytest.raises(ZeroDivisionError):
        await step.handle(call, broken)
    assert json.loads((tmp_path / "audit.jsonl").read_text())["code"] == "INTERNAL"
