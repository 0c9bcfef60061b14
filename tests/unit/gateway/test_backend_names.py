"""Backends given by a host name: every address is one, comes and goes, and costs no call."""

import socket

import pytest

from gateway.upstream.backend import Backend
from gateway.upstream.names import Named, is_name, lookup
from gateway.upstream.pool import Pool
from services.common.metrics import Metrics
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
    named = Named("sampler:50062", pool, lookup=(resolver := Resolver("10.0.0.2", "10.0.0.1")))
    await named.look()
    assert addresses(pool) == ["10.0.0.1:50062", "10.0.0.2:50062"]
    resolver.hosts.add("10.0.0.3")
    await named.look()
    assert addresses(pool) == ["10.0.0.1:50062", "10.0.0.2:50062", "10.0.0.3:50062"]


async def test_one_that_is_gone_leaves_after_its_last_call(pool):
    named = Named("sampler:50062", pool, lookup=(resolver := Resolver("10.0.0.1", "10.0.0.2")))
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
    named = Named("sampler:50062", pool, lookup=(resolver := Resolver("10.0.0.1", "10.0.0.2")))
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
    named = Named("sampler:50062", pool, lookup=(resolver := Resolver("10.0.0.1")))
    await named.look()
    resolver.hosts = set()
    await named.look()
    await named.look()
    assert addresses(pool) == ["10.0.0.1:50062"]
    assert [record.message for record in caplog.records] == ["name not found"]


async def test_others_of_the_pool_are_left_alone():
    pool = Pool("sampler", [fixed := Backend("10.0.0.9:1")], Metrics("gateway"))
    named = Named("sampler:50062", pool, lookup=(resolver := Resolver("10.0.0.1")))
    await named.look()
    resolver.hosts = {"10.0.0.2"}
    await named.look()
    assert addresses(pool) == ["10.0.0.9:1", "10.0.0.2:50062"]
    assert fixed in pool.backends
    await pool.close()


async def test_a_gateway_finds_its_backends_by_name():
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(sampler=[f"localhost:{backend.port}"]) as door,
    ):
        assert await door.stub(GENERATE)(b"found") == b"found"
        assert [b["address"] for b in (await door.readyz())["services"]["sampler"]["backends"]] == [
            backend.address
        ]
