"""Backends given by a host name: every address is one, comes and goes, and costs no call."""

import asyncio
import socket

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2_grpc

from gateway.upstream.backend import Backend
from gateway.upstream.names import Named, is_name, lookup
from gateway.upstream.pool import Pool
from services.common.metrics import Metrics
from services.common.rpc.server import SERVER_OPTIONS
from tests.unit.gateway.fakes import GENERATE, FakeBackend, backends, gateway


class Resolver:
    """What a name stands for, as a test says."""

    def __init__(self, *hosts):
        self.hosts = set(hosts)

    async def __call__(self, host):
        assert host == "sampler"
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return set(self.hosts)


@pytest.fixture
async def pool():
    made = Pool("sampler", [], Metrics("gateway"))
    yield made
    await made.close()


def addresses(pool):
    return [backend.address for backend in pool.backends]


@pytest.mark.parametrize(
    ("address", "named"),
    [("sampler:50062", True), ("10.0.0.7:50062", False), ("[fd00::7]:50062", False), ("localhost:1", True)],
)
def test_a_name_is_told_from_an_address(address, named):
    assert is_name(address) is named


async def test_the_systems_resolver_is_asked():
    assert await lookup("localhost") == {"127.0.0.1"}
    with pytest.raises(OSError, match=r"no-such-host\.invalid|not known|resolution|address"):
        await lookup("no-such-host.invalid")


async def test_every_address_is_a_backend(pool):
    named = Named("sampler:50062", pool, resolver=(resolver := Resolver("10.0.0.2", "10.0.0.1")))
    await named.look()
    assert addresses(pool) == ["10.0.0.1:50062", "10.0.0.2:50062"]
    resolver.hosts.add("10.0.0.3")
    await named.look()
    assert addresses(pool) == ["10.0.0.1:50062", "10.0.0.2:50062", "10.0.0.3:50062"]


async def test_one_that_is_gone_leaves_after_its_last_call(pool):
    named = Named("sampler:50062", pool, resolver=(resolver := Resolver("10.0.0.1", "10.0.0.2")))
    await named.look()
    gone, stays = pool.backends
    gone.serving = stays.serving = True
    pool.begin(gone)
    resolver.hosts = {"10.0.0.2"}
    await named.look()
    assert pool.backends == (gone, stays), "it serves: the name may lag behind"
    gone.serving = False
    await named.look()
    assert pool.backends == (gone, stays), "its call has not ended"
    assert pool.pick() is stays
    gone.outstanding = 0
    await named.look()
    assert pool.backends == (stays,)


async def test_nothing_is_kept_of_one_that_left(pool):
    named = Named("sampler:50062", pool, resolver=(resolver := Resolver("10.0.0.1", "10.0.0.2")))
    await named.look()
    resolver.hosts = {"10.0.0.2"}
    await named.look()
    shown = {
        sample.labels["backend"]
        for metric in pool._metrics.registry.collect()
        for sample in metric.samples
        if "backend" in sample.labels
    }
    assert shown == {"10.0.0.2:50062"}


async def test_a_name_that_cannot_be_looked_up_changes_nothing(pool, caplog):
    named = Named("sampler:50062", pool, resolver=(resolver := Resolver("10.0.0.1")))
    await named.look()
    resolver.hosts = set()
    await named.look()
    await named.look()
    assert addresses(pool) == ["10.0.0.1:50062"]
    assert [record.message for record in caplog.records] == ["name not found"]


async def test_what_can_be_no_host_name_is_told_of(pool, caplog):
    await Named(f"{'a' * 64}..b:50062", pool).look()
    assert addresses(pool) == []
    assert [record.message for record in caplog.records] == ["name not found"]


async def test_others_of_the_pool_are_left_alone():
    pool = Pool("sampler", [fixed := Backend("10.0.0.9:1")], Metrics("gateway"))
    named = Named("sampler:50062", pool, resolver=(resolver := Resolver("10.0.0.1")))
    await named.look()
    resolver.hosts = {"10.0.0.2"}
    await named.look()
    assert addresses(pool) == ["10.0.0.9:1", "10.0.0.2:50062"]
    assert fixed in pool.backends
    await pool.close()


async def test_a_service_without_any_replica_is_told_of(pool):
    """Else nobody would be alarmed where no name leads anywhere."""

    def up():
        return pool._metrics.registry.get_sample_value("pequod_service_up", {"service": "sampler"})

    assert up() == 0
    await Named("sampler:50062", pool, resolver=Resolver("10.0.0.1")).look()
    assert up() == 0
    pool.backends[0].serving = True
    assert up() == 1


async def test_a_gateway_finds_its_backends_by_name():
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(sampler=[f"localhost:{backend.port}"]) as door,
    ):
        assert await door.stub(GENERATE)(b"found") == b"found"
        assert [b["address"] for b in (await door.readyz())["services"]["sampler"]["backends"]] == [
            backend.address
        ]


class Replica(FakeBackend):
    """One of several on the same port, each at an address of its own."""

    def __init__(self, host, port):
        super().__init__()
        self._host, self.port = host, port

    @property
    def address(self):
        return f"{self._host}:{self.port}"

    async def start(self):
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(self.address)
        await self.serving(True)
        await self._server.start()


async def calls_without_end(stub, stop, outcomes):
    while not stop.is_set():
        outcomes.append(await stub(b"hello"))


async def test_replicas_are_replaced_under_load_and_no_call_fails(monkeypatch):
    """As a rolling update does it: the new one joins; the old one says NOT_SERVING, leaves the name, ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    replicas = [Replica(f"127.0.0.{number}", port) for number in range(1, 5)]
    resolver = Resolver("127.0.0.1", "127.0.0.2")
    monkeypatch.setattr("gateway.upstream.names.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("gateway.upstream.names.lookup", resolver)
    outcomes, stop = [], asyncio.Event()
    for old in replicas[:2]:
        await old.start()
    async with gateway(wait=False, sampler=[f"sampler:{port}"]) as door:
        await door.until(True, True)
        stub = door.stub(GENERATE)
        callers = [asyncio.create_task(calls_without_end(stub, stop, outcomes)) for _ in range(8)]
        for old, new in zip(replicas[:2], replicas[2:], strict=True):
            await new.start()
            resolver.hosts.add(new.address.partition(":")[0])
            await door.until(True, True, True)
            await old.serving(False)
            resolver.hosts.remove(old.address.partition(":")[0])
            await door.until(True, True)
            await old._server.stop(5)
        before = len(outcomes)
        while len(outcomes) < before + 50:
            await asyncio.sleep(0.01)
        stop.set()
        await asyncio.gather(*callers)
        listed = (await door.readyz())["services"]["sampler"]["backends"]
    for new in replicas[2:]:
        assert new.calls() > 0
        await new.stop()
    assert set(outcomes) == {b"hello"}
    assert {each["address"] for each in listed} == {new.address for new in replicas[2:]}
