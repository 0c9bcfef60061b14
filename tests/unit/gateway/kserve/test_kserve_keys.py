"""Keys at KServe's doors: who is let in, to what, and what a refusal looks like."""

from __future__ import annotations

import grpc
import pytest

import inference as pb
from gateway.models import GET_MODEL
from gateway.principal import Group
from tests.unit.gateway.fakes import reason
from tests.unit.gateway.key_parts import Keys, bearer
from tests.unit.gateway.kserve.kserve_parts import EMBED, LOAD, door_of, infer_request, texts

WORDS = infer_request("words", texts("text", "a"))
BODY = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}


@pytest.fixture
def shown(tmp_path):
    """The texts of keys by what they may do, and the settings that say so."""
    keys = Keys(tmp_path)
    return keys.settings, {
        "all": keys.add("all", tenant="acme"),
        "embeddings": keys.add("embeddings", groups=(Group.EMBEDDINGS,)),
        "faces": keys.add("faces", groups=(Group.FACES,)),
        "writer": keys.add("writer", models=("writer",)),
        "slow": keys.add("slow", limits={"requests_per_minute": 1}),
    }


@pytest.fixture
def texts_of(shown):
    return shown[1]


@pytest.fixture
async def door(shown, services):
    async with door_of(services, keys=shown[0]) as started:
        yield started


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason(caught.value)


async def test_a_key_is_needed_for_all_but_probes(stub, door, services):
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await door.http.get("/v2/health/ready")).status_code == 200
    for call in (
        stub.ModelInfer(WORDS),
        stub.ModelMetadata(pb.ModelMetadataRequest(name="words")),
        stub.ModelReady(pb.ModelReadyRequest(name="words")),
        stub.ModelStatistics(pb.ModelStatisticsRequest()),
        stub.RepositoryIndex(pb.RepositoryIndexRequest()),
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="words")),
    ):
        assert await refused(call) == ("UNAUTHENTICATED", "KEY_MISSING")
    for verb, path in (
        ("POST", "/v2/models/words/infer"),
        ("POST", "/v2/models/words/generate"),
        ("GET", "/v2/models/words"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
    ):
        reply = await door.http.request(verb, path, json=BODY if path.endswith("infer") else {})
        assert (reply.status_code, reply.json()["reason"]) == (401, "KEY_MISSING")
    assert not services.seen


async def test_a_key_comes_in_either_header_and_goes_no_further(stub, door, services, texts_of):
    key = texts_of["all"]
    await stub.ModelInfer(WORDS, metadata=bearer(key))
    await stub.ModelInfer(WORDS, metadata=(("x-api-key", key),))
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        reply = await door.http.post("/v2/models/words/infer", json=BODY, headers=headers)
        assert reply.status_code == 200
    for path in (GET_MODEL, EMBED):
        assert not {"authorization", "x-api-key"} & services.metadata[path].keys()
        assert services.metadata[path]["x-pequod-caller"].startswith("acme/")


async def test_a_key_runs_what_its_groups_hold(stub, services, texts_of):
    await stub.ModelInfer(WORDS, metadata=bearer(texts_of["embeddings"]))
    assert await refused(stub.ModelInfer(WORDS, metadata=bearer(texts_of["faces"]))) == (
        "PERMISSION_DENIED",
        "NOT_ALLOWED",
    )
    load = pb.RepositoryModelLoadRequest(model_name="words")
    denied = ("PERMISSION_DENIED", "NOT_ALLOWED")
    assert await refused(stub.RepositoryModelLoad(load, metadata=bearer(texts_of["embeddings"]))) == denied
    assert LOAD not in services.seen


async def test_a_key_sees_its_models_alone(stub, texts_of):
    metadata = bearer(texts_of["writer"])
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="writer"), metadata=metadata)).ready
    for call in (
        stub.ModelInfer(WORDS, metadata=metadata),
        stub.ModelMetadata(pb.ModelMetadataRequest(name="words"), metadata=metadata),
        stub.ModelStatistics(pb.ModelStatisticsRequest(name="words"), metadata=metadata),
    ):
        assert await refused(call) == ("PERMISSION_DENIED", "NOT_ALLOWED")


async def test_what_one_caller_was_told_of_a_model_is_told_to_no_other(stub, services, texts_of):
    async def asked(name):
        before = len(services.seen.get(GET_MODEL, ()))
        await stub.ModelInfer(WORDS, metadata=bearer(texts_of[name]))
        return len(services.seen[GET_MODEL]) > before

    assert await asked("all")
    assert not await asked("all")
    assert await asked("embeddings")
    assert not await asked("embeddings")


async def test_a_spent_limit_says_when_to_come_back(stub, door, texts_of):
    headers = {"x-api-key": texts_of["slow"]}
    reply = await door.http.post("/v2/models/words/infer", json=BODY, headers=headers)
    assert reply.status_code == 200
    reply = await door.http.post("/v2/models/words/infer", json=BODY, headers=headers)
    assert (reply.status_code, reply.json()["reason"]) == (429, "LIMIT_REACHED")
    assert int(reply.headers["retry-after"]) >= 1
    call = stub.ModelStreamInfer(iter([WORDS]), metadata=bearer(texts_of["slow"]))
    (told,) = [each async for each in call]
    assert told.error_message
    assert await refused(stub.ModelInfer(WORDS, metadata=bearer(texts_of["slow"]))) == (
        "RESOURCE_EXHAUSTED",
        "LIMIT_REACHED",
    )
