"""Usage: what calls add up to, what survives a database that is away, what the command line shows."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import grpc
import pytest
from fakes import GENERATE, FakeBackend, backends, gateway
from key_parts import Keys, bearer

from gateway.cli.app import run
from gateway.database import DatabaseSettings
from gateway.principal import Principal
from gateway.usage.ledger import Ledger
from gateway.usage.record import Amounts, Of, line_of
from gateway.usage.store import Asked, UsageStore
from pequod.common.v1 import Usage
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.common.rpc.usage import USAGE_KEY

HOUR = datetime(2026, 11, 26, 14, tzinfo=UTC)


@pytest.fixture
def store(database_url):
    opened = DatabaseSettings(database_url).open()
    yield UsageStore(opened)
    opened.close()


def of(hour=HOUR, tenant="acme", key="a", model="gpt2", method="x/Generate"):
    return Of(hour, tenant, key, model, method)


def test_lines_of_one_hour_add_up_and_others_stay_apart(store):
    store.add([(of(), Amounts(calls=1, input_tokens=5, compute_ms=1.5))])
    store.add([(of(), Amounts(calls=2, failed=1, input_tokens=7)), (of(model="m"), Amounts(calls=1))])
    rows = store.sums(Asked(("tenant", "key", "model")))
    assert [(row["model"], row["calls"], row["failed"], row["input_tokens"]) for row in rows] == [
        ("gpt2", 3, 1, 12),
        ("m", 1, 0, 0),
    ]
    assert rows[0]["compute_ms"] == pytest.approx(1.5)


def test_sums_by_day_between_times_and_of_a_tenant(store):
    for hours, tenant in ((0, "acme"), (1, "acme"), (24, "acme"), (0, "other")):
        store.add([(of(HOUR + timedelta(hours=hours), tenant), Amounts(calls=1))])
    rows = store.sums(Asked(("day",), tenant="acme"))
    assert [(row["day"], row["calls"]) for row in rows] == [
        (datetime(2026, 11, 26, tzinfo=UTC), 2),
        (datetime(2026, 11, 27, tzinfo=UTC), 1),
    ]
    [row] = store.sums(Asked(("tenant",), HOUR + timedelta(hours=1), HOUR + timedelta(hours=2)))
    assert row["calls"] == 1


def test_a_second_process_finds_the_schema_there(store, database_url):
    again = DatabaseSettings(database_url).open()
    UsageStore(again).add([(of(), Amounts(calls=1))])
    assert store.sums(Asked(("key",)))[0]["calls"] == 1
    again.close()


def test_an_empty_url_keeps_nothing():
    assert DatabaseSettings("").open() is None


def test_what_a_call_adds():
    call = SimpleNamespace(
        method=SimpleNamespace(path=GENERATE),
        principal=Principal(tenant="t", name="n"),
        usage=Usage(model="m", version="3", input_tokens=2, output_tokens=3, steps=4, compute_ms=5),
    )
    about, amounts = line_of(call, failed=True, now=HOUR + timedelta(minutes=59))
    assert about == Of(HOUR, "t", "n", "m", GENERATE[1:])
    assert amounts == Amounts(1, 1, 2, 3, 0, 4, 5.0)


async def test_a_database_that_is_away_gets_the_lines_later():
    written = []

    def add(lines):
        if not written:
            written.append(None)
            raise ServiceError(Code.UNAVAILABLE, Reason.DATABASE_UNREACHABLE, "away")
        written.extend(lines)

    metrics = Metrics("gateway")
    ledger = Ledger(SimpleNamespace(add=add), metrics)
    ledger.add(of(), Amounts(calls=1))
    await ledger.flush()
    ledger.add(of(), Amounts(calls=1))
    assert metrics.registry.get_sample_value("pequod_usage_pending") == 1
    await ledger.flush()
    await ledger.flush()
    assert written == [None, (of(), Amounts(calls=2))]


async def test_no_fault_of_the_database_ends_the_writing(monkeypatch):
    written = []

    def add(lines):
        written.append(lines)
        if len(written) == 1:
            raise RuntimeError("disk I/O error")

    monkeypatch.setattr("gateway.usage.ledger.FLUSH_SECONDS", 0.01)
    ledger = Ledger(SimpleNamespace(add=add), Metrics("gateway"))
    ledger.add(of(), Amounts(calls=1))
    following = asyncio.create_task(ledger.follow())
    async with asyncio.timeout(10):
        while len(written) < 2:
            await asyncio.sleep(0.01)
    following.cancel()
    assert written == [[(of(), Amounts(calls=1))]] * 2


async def test_lines_on_their_way_when_the_gateway_ends_are_not_lost():
    tried, away = threading.Event(), threading.Event()
    written = []

    def add(lines):
        written.append(lines)
        tried.set()
        if len(written) == 1:
            away.wait(10)
            raise ServiceError(Code.UNAVAILABLE, Reason.DATABASE_UNREACHABLE, "away")

    ledger = Ledger(SimpleNamespace(add=add), Metrics("gateway"))
    ledger.add(of(), Amounts(calls=1))
    flushing = asyncio.create_task(ledger.flush())
    await asyncio.to_thread(tried.wait, 10)
    flushing.cancel()
    closing = asyncio.create_task(ledger.close())
    away.set()
    await closing
    assert written == [[(of(), Amounts(calls=1))]] * 2


async def test_lines_that_the_database_never_takes_are_in_the_log(caplog):
    def add(lines):
        raise ServiceError(Code.UNAVAILABLE, Reason.DATABASE_UNREACHABLE, "away")

    ledger = Ledger(SimpleNamespace(add=add), Metrics("gateway"))
    ledger.add(of(), Amounts(calls=3))
    await ledger.close()
    [lost] = [record.line for record in caplog.records if record.message == "usage lost"]
    assert (lost["hour"], lost["tenant"], lost["calls"]) == (HOUR.isoformat(), "acme", 3)


async def test_calls_through_a_gateway_are_in_the_database_when_it_has_ended(tmp_path, capsys, monkeypatch):
    keys = Keys(tmp_path)
    text = keys.add("reader", tenant="acme")
    database = DatabaseSettings(f"sqlite:///{tmp_path}/usage.db")

    async def answer(request, context):
        used = Usage(model="gpt2", input_tokens=3, output_tokens=4, compute_ms=2)
        context.set_trailing_metadata(((USAGE_KEY, used.SerializeToString()),))
        if request:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad")
        return b""

    settings = {"keys": keys.settings, "database": database}
    async with (
        backends(FakeBackend().on(GENERATE, answer)) as (backend,),
        gateway(settings=settings, sampler=[backend]) as door,
    ):
        await door.stub(GENERATE)(b"", metadata=bearer(text))
        with pytest.raises(grpc.aio.AioRpcError):
            await door.stub(GENERATE)(b"x", metadata=bearer(text))
        with pytest.raises(grpc.aio.AioRpcError):
            await door.stub(GENERATE)(b"")  # without a key: nobody's
    monkeypatch.setenv("PEQUOD_GATEWAY_DATABASE_URL", database.url)
    assert run(["usage", "--csv"]) == 0
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row == {
        **{"tenant": "acme", "key": "reader", "model": "gpt2", "calls": "2", "failed": "1"},
        **{"input_tokens": "6", "output_tokens": "8", "cached_tokens": "0", "steps": "0", "compute_ms": "4"},
    }
    assert run(["usage", "--json", "--by", "method", "--since", "2h"]) == 0
    assert json.loads(capsys.readouterr().out)["usage"][0]["method"] == GENERATE[1:]
    assert run(["usage", "--by", "colour"]) == 1
    assert "is not one of hour, day" in capsys.readouterr().err
    assert run(["usage", "--since", "soon"]) == 1
    assert "no span of time" in capsys.readouterr().err
