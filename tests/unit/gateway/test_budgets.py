"""`pequod status`: what services hold, from ListModels to the table; and who may know."""

from __future__ import annotations

import asyncio
import contextlib
import json

import grpc
import pytest
from google.protobuf import json_format
from rich.console import Console

from gateway.cli import budgets, output, platform
from gateway.models import LIST_MODELS
from gateway.principal import Group
from pequod.model.v1 import DiskUse, GpuUse, ListModelsRequest, ListModelsResponse, Model, Resources
from services.common.rpc.side_port import http_serving
from tests.unit.gateway.fakes import FakeBackend, backends, gateway
from tests.unit.gateway.key_parts import Keys


def holding(service, **fields):
    """A service with two pages of models that tells what it holds with the first."""

    async def behaviour(request, context):
        asked = ListModelsRequest.FromString(request)
        reply = ListModelsResponse(next_page_token="" if asked.page_token else "2")
        reply.models.append(Model(name=f"{service}{asked.page_token or 1}", version="1", service=service))
        if asked.resources:
            reply.resources.services.append(Resources(service=service, **fields))
        return reply.SerializeToString()

    return FakeBackend(**{LIST_MODELS: behaviour})


async def test_every_service_tells_once_what_it_holds():
    sampler, tokenizer = holding("sampler", memory_bytes=5, memory_budget_bytes=9), holding("tokenizer")
    async with (
        backends(sampler, tokenizer),
        gateway(sampler=[sampler], tokenizer=[tokenizer]) as door,
    ):
        reply = (await door.http.post(LIST_MODELS, json={"pageSize": 1, "resources": True})).json()
        without = (await door.http.post(LIST_MODELS, json={"pageSize": 1})).json()
    assert reply["resources"]["services"] == [
        {"service": "sampler", "memoryBytes": "5", "memoryBudgetBytes": "9"},
        {"service": "tokenizer"},
    ]
    assert reply["models"] == without["models"]
    assert "resources" not in without


async def test_a_service_without_models_tells_what_it_holds_too():
    sampler, finetune = holding("sampler"), holding("finetune", memory_bytes=7)
    async with backends(sampler, finetune), gateway(sampler=[sampler], finetune=[finetune]) as door:
        reply = (await door.http.post(LIST_MODELS, json={"resources": True})).json()
    assert reply["resources"]["services"] == [
        {"service": "sampler"},
        {"service": "finetune", "memoryBytes": "7"},
    ]
    assert {each["service"] for each in reply["models"]} == {"sampler"}


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE])
async def test_one_that_cannot_tell_keeps_nobody_else_silent(code):
    async def behaviour(request, context):
        await context.abort(code, "not here")

    sampler, finetune = holding("sampler"), FakeBackend(**{LIST_MODELS: behaviour})
    async with backends(sampler, finetune), gateway(sampler=[sampler], finetune=[finetune]) as door:
        reply = await door.http.post(LIST_MODELS, json={"resources": True})
    assert reply.json()["resources"]["services"] == [{"service": "sampler"}], reply.text


async def test_a_key_without_the_group_sees_models_alone(tmp_path):
    keys = Keys(tmp_path)
    headers = {
        name: {"authorization": f"Bearer {keys.add(name, groups=groups)}"}
        for name, groups in (("texts", (Group.TEXT,)), ("operator", (Group.OPERATE,)))
    }
    backend = holding("sampler", memory_bytes=5)
    async with backends(backend), gateway(settings={"keys": keys.settings}, sampler=[backend]) as door:

        async def asked(name, **body):
            return await door.http.post(LIST_MODELS, json=body, headers=headers[name])

        assert (await asked("texts")).status_code == 200
        refused = await asked("texts", resources=True)
        assert (await asked("operator", resources=True)).json()["resources"]
    assert refused.status_code == 403
    assert "the group operate" in refused.json()["error"]["message"]


@pytest.fixture
def shown(monkeypatch, capsys):
    """What a command prints, wide enough for its tables."""
    monkeypatch.setattr(output, "console", lambda: Console(highlight=False, width=200))
    return capsys


HELD = Resources(
    service="sampler",
    memory_bytes=500_000_000,
    memory_budget_bytes=4 * 2**30,
    disks=[
        DiskUse(name="cache", used_bytes=4_600_000, free_bytes=49_700_000_000, limit_bytes=2 * 10**10),
        DiskUse(name="store", free_bytes=49_700_000_000),
    ],
    gpus=[GpuUse(index=0, used_bytes=2 * 10**10, total_bytes=8 * 10**10, budget_bytes=10**10)],
)


class Answers:
    """A gateway that says one thing."""

    def __init__(self, status, body):
        self.status, self.body = status, json.dumps(body).encode()

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


async def listening(port):
    """Return once somebody accepts connections there."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.01)


async def answered(status, body):
    """What ``budgets.resources`` makes of such a gateway."""
    async with http_serving(Answers(status, body), "127.0.0.1", 0) as port:
        await listening(port)
        return await asyncio.to_thread(budgets.resources, f"http://127.0.0.1:{port}")


async def test_the_table_shows_what_is_held_beside_what_may_be(shown):
    found, why_not = await answered(200, {"resources": {"services": [json_format.MessageToDict(HELD)]}})
    assert why_not == ""
    budgets.table(found, why_not)
    (line,) = (line for line in shown.readouterr().out.splitlines() if line.startswith("sampler"))
    assert "500.0 MB of 4.3 GB" in line
    assert "4.6 MB of 20.0 GB, 49.7 GB free" in line
    assert "0 B, 49.7 GB free" in line
    assert "0: 20.0 GB of 80.0 GB, 10.0 GB for this service" in line


def test_jobs_and_their_files_are_shown_beside_their_limits(shown):
    disks = [
        DiskUse(name="checkpoints", used_bytes=2_000_000_000, free_bytes=49_700_000_000),
        DiskUse(name="datasets", used_bytes=1_500_000, free_bytes=49_700_000_000, limit_bytes=5 * 10**10),
        DiskUse(name="work", used_bytes=2_600_000_000, free_bytes=49_700_000_000),
    ]
    held = Resources(service="finetune", memory_bytes=800_000_000, disks=disks)
    budgets.table([json_format.MessageToDict(each) for each in (HELD, held)], "")
    first, second = (line for line in shown.readouterr().out.splitlines() if line.startswith("finetune"))
    assert "800.0 MB by jobs" in first
    assert "1.5 MB of 50.0 GB a tenant, 49.7 GB free" in second
    assert "2.6 GB, 49.7 GB free" in second
    assert second.rstrip().endswith("2.0 GB")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(403, {"error": {"message": "needs operate"}}, "needs operate"), (502, ["?"], "HTTP 502")],
)
async def test_why_there_is_no_table_is_said(shown, status, body, said):
    found, why_not = await answered(status, body)
    budgets.table(found, why_not)
    assert not found
    assert said in shown.readouterr().err


def test_status_goes_on_without_a_gateway_that_knows(monkeypatch, shown):
    monkeypatch.setattr(platform, "readiness", lambda base: {"ready": True, "services": {}})
    monkeypatch.setattr(budgets, "resources", lambda base: ([], "no answer"))
    with pytest.raises(platform.typer.Exit) as ended:
        platform.status(as_json=True)
    assert ended.value.exit_code == 0
    assert json.loads(shown.readouterr().out) == {"ready": True, "services": {}, "resources": []}
