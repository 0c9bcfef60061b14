"""ModelService at the gateway: one list over all services, other calls to the owner."""

import grpc
import pytest
from google.protobuf.message import Message

from pequod.model.v1 import (
    GetModelRequest,
    GetModelResponse,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    ModelKind,
    ModelServiceStub,
    SetAliasRequest,
    SetAliasResponse,
    WatchModelRequest,
    WatchModelResponse,
)
from services.common.errors import Reason, model_not_found
from services.common.rpc import status
from tests.unit.gateway.fakes import FakeBackend, backends, gateway, reason

PREFIX = "/pequod.model.v1.ModelService/"


class Owner(FakeBackend):
    """A backend with models of its own."""

    def __init__(self, service, *names, kind=ModelKind.MODEL_KIND_NGRAM, page=2):
        super().__init__()
        self.models = [Model(name=n, version=v, service=service, kind=kind) for n, v in names]
        self.page = page
        for method in ("ListModels", "GetModel", "SetAlias", "WatchModel"):
            self.on(PREFIX + method, getattr(self, method))

    async def ListModels(self, request, context):
        asked = ListModelsRequest.FromString(request)
        kinds = [m for m in self.models if asked.kind in (0, m.kind)]
        start = int(asked.page_token or 0)
        end = start + min(self.page, asked.page_size)
        more = str(end) if end < len(kinds) else ""
        return ListModelsResponse(models=kinds[start:end], next_page_token=more).SerializeToString()

    async def GetModel(self, request, context):
        found = await self._find(GetModelRequest.FromString(request).model, context)
        return GetModelResponse(model=found).SerializeToString()

    async def SetAlias(self, request, context):
        found = await self._find(SetAliasRequest.FromString(request).name, context)
        return SetAliasResponse(model=found).SerializeToString()

    async def WatchModel(self, request, context):
        found = await self._find(WatchModelRequest.FromString(request).model, context)
        await context.write(WatchModelResponse(model=found).SerializeToString())

    async def _find(self, name, context):
        for model in self.models:
            if model.name == name:
                return model
        rich = status.to_status(model_not_found(name, [m.name for m in self.models]))
        await context.abort(grpc.StatusCode.NOT_FOUND, rich.message, status.trailing(rich))


@pytest.fixture
async def owners():
    sampler = Owner("sampler", ("moby", "1"), ("moby", "2"), ("moby", "10"), ("zebra", "1"), ("alpha", "1"))
    tokenizer = Owner("tokenizer", ("gpt2", "1"), ("moby", "3"), kind=ModelKind.MODEL_KIND_ENCODING)
    async with backends(sampler, tokenizer) as both:
        yield both


@pytest.fixture
async def door(owners):
    sampler, tokenizer = owners
    async with gateway(sampler=[sampler], tokenizer=[tokenizer]) as started:
        yield started


@pytest.fixture
def stub(door):
    return ModelServiceStub(door.channel)


EXPECTED = [
    ("alpha", "1"),
    ("gpt2", "1"),
    ("moby", "1"),
    ("moby", "2"),
    ("moby", "3"),
    ("moby", "10"),
    ("zebra", "1"),
]


def shown(reply):
    return [(m.name, m.version) for m in reply.models]


async def failed(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_the_list_is_merged_and_sorted(stub):
    reply = await stub.ListModels(ListModelsRequest())
    assert shown(reply) == EXPECTED
    assert reply.next_page_token == ""
    assert isinstance(reply.usage, Message)
    assert {m.service for m in reply.models} == {"sampler", "tokenizer"}


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 1000])
async def test_pages_join_to_the_whole(stub, size):
    got, token = [], ""
    for _ in range(10):
        reply = await stub.ListModels(ListModelsRequest(page_size=size, page_token=token))
        assert len(reply.models) <= size
        got += shown(reply)
        token = reply.next_page_token
        if not token:
            break
    assert got == EXPECTED


async def test_pages_stay_stable_while_models_come_and_go(stub, owners):
    first = await stub.ListModels(ListModelsRequest(page_size=3))
    owners[0].models = [m for m in owners[0].models if m.name != "alpha"]
    owners[1].models.insert(0, Model(name="aardvark", version="1", service="tokenizer"))
    rest = await stub.ListModels(ListModelsRequest(page_token=first.next_page_token))
    assert shown(first) + shown(rest) == EXPECTED


async def test_the_kind_filters(stub):
    reply = await stub.ListModels(ListModelsRequest(kind=ModelKind.MODEL_KIND_ENCODING))
    assert shown(reply) == [("gpt2", "1"), ("moby", "3")]


@pytest.mark.parametrize("bad", [{"page_size": 1001}, {"page_token": "???"}, {"page_token": "WzEsMiwzXQ=="}])
async def test_bad_paging_is_refused(stub, bad):
    error = await failed(stub.ListModels(ListModelsRequest(**bad)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert next(iter(bad)) in error.details()


async def test_the_rest_is_listed_while_a_service_is_down(stub, door, owners):
    await owners[1].stop()
    await door.until(True, False)
    call = stub.ListModels(ListModelsRequest())
    assert [m.service for m in (await call).models] == ["sampler"] * 5
    assert dict(await call.trailing_metadata())["pequod-unreachable-services"] == "tokenizer"
    await owners[0].stop()
    await door.until(False, False)
    error = await failed(stub.ListModels(ListModelsRequest()))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(error) == Reason.BACKEND_DOWN


async def test_a_call_goes_to_the_owner(stub, owners):
    assert (await stub.GetModel(GetModelRequest(model="gpt2"))).model.service == "tokenizer"
    assert (await stub.GetModel(GetModelRequest(model="zebra"))).model.service == "sampler"
    assert (await stub.SetAlias(SetAliasRequest(name="gpt2", alias="a"))).model.service == "tokenizer"
    seen = [event async for event in stub.WatchModel(WatchModelRequest(model="gpt2"))]
    assert [event.model.service for event in seen] == ["tokenizer"]
    assert owners[0].calls(PREFIX + "SetAlias") == 0


async def test_the_owner_is_remembered_for_a_while(stub, owners):
    for _ in range(5):
        await stub.GetModel(GetModelRequest(model="gpt2"))
    assert owners[0].calls(PREFIX + "GetModel") == 1


async def test_an_unknown_model_names_the_close_ones_of_all_services(stub):
    error = await failed(stub.GetModel(GetModelRequest(model="gpt3")))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert reason(error) == Reason.MODEL_NOT_FOUND
    assert "gpt2" in error.details()


async def test_a_model_of_a_service_that_is_down_is_not_called_unknown(stub, door, owners):
    await owners[1].stop()
    await door.until(True, False)
    error = await failed(stub.GetModel(GetModelRequest(model="gpt2")))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert (await stub.GetModel(GetModelRequest(model="zebra"))).model.service == "sampler"


async def test_an_empty_reference_is_refused(stub):
    error = await failed(stub.GetModel(GetModelRequest()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "model" in error.details()
    error = await failed(stub.SetAlias(SetAliasRequest(alias="x")))
    assert "name" in error.details()


async def test_the_list_is_json_too(door):
    reply = await door.http.post(f"{PREFIX}ListModels", json={"pageSize": 2})
    assert reply.status_code == 200
    assert [m["name"] for m in reply.json()["models"]] == ["alpha", "gpt2"]
    assert reply.json()["nextPageToken"]


async def test_services_without_models_are_not_asked_for_any():
    sampler = Owner("sampler", ("moby-ngram", "1"))
    tokenizer = Owner("tokenizer", ("minilm", "1"))
    async with (
        backends(sampler, tokenizer, FakeBackend()) as (_, _, finetune),
        gateway(sampler=[sampler], tokenizer=[tokenizer], finetune=[finetune]) as door,
    ):
        stub = ModelServiceStub(door.channel)
        listed = await stub.ListModels(ListModelsRequest())
        assert [model.name for model in listed.models] == ["minilm", "moby-ngram"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(GetModelRequest(model="nowhere"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
