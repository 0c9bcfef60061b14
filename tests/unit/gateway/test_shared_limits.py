"""Limits that several gateways hold together through one database."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import grpc
import pytest
from fakes import GENERATE, FakeBackend, backends, gateway
from key_parts import Keys, bearer

from gateway.database import DatabaseSettings
from gateway.limits.account import Account
from gateway.limits.asking import PAUSE_SECONDS, Asking
from gateway.limits.slices import SLOTS, Rate, Slices
from gateway.limits.work import Work
from gateway.principal import Limits, Principal
from services.common.database.clock import now
from services.common.errors import Code, Reason, ServiceError

RATE = Rate("acme", "shop", "tokens", 1000.0, 1e9)  # refills so slowly that it does not show


@pytest.fixture
def database(database_url):
    opened = DatabaseSettings(database_url).open()
    yield opened
    opened.close()


@pytest.fixture
def two(database):
    """Two gateways' views of it."""
    return Slices(database, "one"), Slices(database, "two")


def accounts(two, **limits):
    who = Principal(tenant="acme", name="shop", limits=Limits(**limits))
    return [Account(who, each) for each in two]


async def let_in(account, work=None):
    try:
        await account.enter(work or Work())
    except ServiceError as error:
        if error.reason is not Reason.LIMIT_REACHED:
            raise
        return False
    return True


def test_a_slice_is_what_is_wanted_or_what_is_left(two):
    one, other = two
    assert one.lease(RATE, 1, 600) == (600, 0)
    granted, wait = other.lease(RATE, 1, 600)
    assert (granted, wait) == (pytest.approx(400), 0)
    granted, wait = one.lease(RATE, 1, 600)
    assert granted == 0
    assert wait == pytest.approx(1e6, rel=0.01)
    one.give_back(RATE, 600)
    assert other.lease(RATE, 500, 500)[0] == 500


def test_a_full_bucket_grants_more_than_it_holds_once(two):
    one, other = two
    assert one.lease(RATE, 5000, 5000) == (5000, 0)
    granted, wait = other.lease(RATE, 1, 1)
    assert granted == 0
    assert wait > 4e9


def test_a_bucket_never_holds_more_than_its_capacity(two):
    one, _ = two
    assert one.give_back(RATE, 5000) == 1000


def test_places_are_held_by_gateway_and_given_back(two):
    one, other = two
    assert one.hold("acme", "shop", 5, 4) == 4
    assert other.hold("acme", "shop", 5, 4) == 1
    assert one.hold("acme", "shop", 5, 1) == 1
    assert other.hold("acme", "shop", 5, 9) == 4
    assert one.hold("acme", "another", 5, 9) == 5


def test_places_of_a_gateway_that_died_come_back(two, database):
    one, other = two
    one.hold("acme", "shop", 5, 5)
    assert other.hold("acme", "shop", 5, 5) == 0
    database.write(lambda connection: connection.execute(SLOTS.update().values(until=now(-1))))
    assert other.hold("acme", "shop", 5, 5) == 5


async def test_two_gateways_together_let_in_what_one_may(two):
    both = accounts(two, requests_per_minute=40)
    results = Counter()
    for _ in range(50):
        for account in both:
            results[await let_in(account)] += 1
    assert 40 <= results[True] <= 43  # and what refilled meanwhile


async def test_what_one_does_not_use_the_other_gets(two):
    one, other = accounts(two, tokens_per_minute=160)
    assert await let_in(one, Work(tokens=1))  # takes a slice of ten
    assert await let_in(other, Work(tokens=140))
    assert not await let_in(other, Work(tokens=19))
    await one.tidy()
    await one.tidy()
    await other.tidy()
    assert await let_in(other, Work(tokens=18))


async def test_what_was_used_beyond_the_estimate_is_owed_by_all(two):
    one, other = accounts(two, tokens_per_minute=100)
    assert await let_in(one, Work(tokens=10))
    one.leave(Work(tokens=10), Work(tokens=300))
    await one.tidy()
    assert not await let_in(other, Work(tokens=1))


async def test_calls_at_a_time_over_two_gateways(two):
    one, other = accounts(two, concurrent=4)
    entered = [await let_in(account) for account in (one, other) * 4]
    assert sum(entered) == 4
    one.leave(Work(), Work())
    await one.tidy()
    assert await let_in(other)


async def test_while_the_database_is_away_nobody_is_refused_for_it():
    class Away:
        def lease(self, *_):
            raise ServiceError(Code.UNAVAILABLE, Reason.DATABASE_UNREACHABLE, "away")

        give_back = hold = lease

    [account] = accounts([Away()], tokens_per_minute=10, concurrent=2)
    assert await let_in(account, Work(tokens=1000))
    assert await let_in(account, Work(tokens=1000))
    assert not await let_in(account, Work(tokens=1))  # its own count still holds
    await account.tidy()


class Silent:
    """A database that is asked in vain, and how often it was."""

    def __init__(self):
        self.asked = 0
        self.answer = threading.Event()

    def lease(self, *_):
        self.asked += 1
        self.answer.wait(10)
        return 100.0, 0.0

    give_back = hold = lease


async def test_a_database_that_says_nothing_is_asked_again_only_after_a_while():
    now, silent = 0.0, Silent()
    asking = Asking(seconds=0.05, clock=lambda: now)
    who = Principal(tenant="acme", name="shop", limits=Limits(tokens_per_minute=10))
    account = Account(who, silent, asking=asking)
    for _ in range(20):
        assert await let_in(account, Work(tokens=1000))
    assert silent.asked == 1
    silent.answer.set()
    now = PAUSE_SECONDS
    assert await let_in(account, Work(tokens=1))
    assert silent.asked == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_gateways_before_one_service(database_url, tmp_path):
    keys = Keys(tmp_path)
    text = keys.add("shop", limits={"requests_per_minute": 20})
    settings = {"keys": keys.settings, "database": DatabaseSettings(database_url)}
    async with (
        backends(FakeBackend()) as (backend,),
        gateway(settings=settings, sampler=[backend]) as one,
        gateway(settings=settings, sampler=[backend]) as other,
    ):

        async def call(door):
            try:
                await door.stub(GENERATE)(b"", metadata=bearer(text))
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        codes = Counter(await asyncio.gather(*[call(door) for door in (one, other) * 20]))
        assert codes[grpc.StatusCode.OK] == backend.calls()
        # What one gateway holds unused is missing, what came while it asked is overdrawn: a slice each.
        assert 18 <= codes[grpc.StatusCode.OK] <= 24
        assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 40 - codes[grpc.StatusCode.OK]
