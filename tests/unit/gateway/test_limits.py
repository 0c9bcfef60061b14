"""Limits of a key: rates that refill, work that is settled, calls at a time."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fakes import GENERATE, FakeBackend, backends, details, gateway, reason
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from key_parts import Keys, bearer

from gateway.limits.account import Account, Accounts
from gateway.limits.bucket import OwnBucket
from gateway.limits.work import CREATE_JOB, Work, estimate
from gateway.methods import method_table
from gateway.principal import Limits, Principal
from pequod.common.v1 import Usage
from pequod.diffusion.v1 import GenerateRequest as PaintRequest
from pequod.finetune.v1 import CreateJobRequest, CreateJobResponse
from pequod.gan.v1 import SampleRequest
from pequod.sampler.v1 import GenerateRequest
from services.common.catalogue import SERVICES
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.usage import USAGE_KEY


class Clock:
    """A clock that stands until it is set forward."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def refusal(account, work=None):
    with pytest.raises(ServiceError) as caught:
        await account.enter(work or Work())
    error = caught.value
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, Reason.LIMIT_REACHED)
    return error


async def test_a_bucket_gives_its_capacity_and_refills_evenly(clock):
    bucket = OwnBucket(60, 60, clock)
    assert await bucket.wait(60) == 0
    bucket.take(60)
    assert await bucket.wait(3) == 3
    clock.now += 2
    assert await bucket.wait(3) == 1
    clock.now += 1000
    assert await bucket.wait(60) == 0
    assert await bucket.wait(61) == 0  # more than it can ever hold: a full bucket lets it through


async def test_an_overdrawn_bucket_pays_back_first(clock):
    bucket = OwnBucket(10, 10, clock)
    bucket.take(25)
    assert await bucket.wait(1) == 16
    bucket.take(-15)
    assert await bucket.wait(1) == 1


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), max_size=60))
def test_nobody_gets_more_than_capacity_and_refill(steps):
    clock = Clock()
    bucket, begin, taken = OwnBucket(10, 5, clock), clock.now, 0.0
    for pause, amount in steps:
        clock.now += pause
        if asyncio.run(bucket.wait(amount)) == 0:
            bucket.take(amount)
            taken += amount
    largest = max((amount for _, amount in steps), default=0)
    assert taken <= 10 + (clock.now - begin) * 2 + max(0, largest - 10) + 1e-6


async def test_requests_a_minute(clock):
    account = Account(Principal(limits=Limits(requests_per_minute=2)), clock=clock)
    await account.enter(Work())
    await account.enter(Work())
    error = await refusal(account)
    assert error.retry_after == pytest.approx(30)
    assert "2 requests a minute" in error.message
    clock.now += error.retry_after
    await account.enter(Work())


async def test_what_was_not_used_comes_back(clock):
    account = Account(Principal(limits=Limits(tokens_per_minute=100)), clock=clock)
    await account.enter(Work(tokens=100))
    await refusal(account, Work(tokens=50))
    account.leave(Work(tokens=100), Work(tokens=10))
    await account.enter(Work(tokens=90))
    assert (await refusal(account, Work(tokens=1))).metadata == {"limit": "tokens"}


async def test_work_that_was_more_than_expected_is_owed(clock):
    account = Account(Principal(limits=Limits(tokens_per_minute=60)), clock=clock)
    await account.enter(Work(tokens=10))
    account.leave(Work(tokens=10), Work(tokens=120))
    assert (await refusal(account, Work(tokens=1))).retry_after == pytest.approx(61)


async def test_a_refused_call_takes_nothing(clock):
    account = Account(Principal(limits=Limits(requests_per_minute=10, tokens_per_minute=10)), clock=clock)
    await account.enter(Work(tokens=10))
    for _ in range(20):
        await refusal(account, Work(tokens=10))
    clock.now += 60
    await account.enter(Work(tokens=10))


async def test_calls_at_a_time(clock):
    account = Account(Principal(limits=Limits(concurrent=1)), clock=clock)
    await account.enter(Work())
    assert (await refusal(account)).metadata == {"limit": "concurrent"}
    account.leave(Work(), Work())
    await account.enter(Work())


async def test_keys_of_one_name_share_an_account_and_new_limits_hold_at_once():
    accounts = Accounts()
    old = Principal(name="a", key_id="1", limits=Limits(concurrent=1))
    new = Principal(name="a", key_id="2", limits=Limits(concurrent=1))
    assert accounts.of(old) is accounts.of(new)
    await accounts.of(old).enter(Work())
    tightened = Principal(name="a", key_id="2", limits=Limits(concurrent=1, requests_per_minute=5))
    await refusal(accounts.of(tightened))  # who runs stays counted
    assert accounts.of(Principal(tenant="other", name="a", limits=Limits(concurrent=1))).running == 0


def test_estimates():
    methods = method_table(SERVICES)
    text = GenerateRequest(prompt="four bytes a token", n=3)
    text.stopping.max_tokens = 100
    assert 300 < estimate(GENERATE, text).tokens < 320
    painted = PaintRequest(width=1000, height=1000, n=2, steps=10)
    path = "/pequod.diffusion.v1.DiffusionService/Generate"
    assert estimate(path, painted).megapixel_steps == 20
    faces = estimate("/pequod.gan.v1.GanService/Sample", SampleRequest(n=4))
    assert faces.megapixel_steps == pytest.approx(4 * 64 * 64 / 1e6)
    for path, method in methods.items():
        estimate(path, method.request_type())  # no field is missing anywhere


async def answer_with(usage, context):
    context.set_trailing_metadata(((USAGE_KEY, usage.SerializeToString()),))
    return b""


@pytest.fixture
async def backend():
    async with backends(FakeBackend()) as (fake,):
        yield fake


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_limit_at_the_door_says_when_to_come_back(backend, tmp_path):
    keys = Keys(tmp_path)
    one, other = keys.add("one", limits={"requests_per_minute": 1}), keys.add("other")
    async with gateway(settings={"keys": keys.settings}, sampler=[backend]) as door:
        await door.stub(GENERATE)(b"", metadata=bearer(one))
        error = await refused(door.stub(GENERATE)(b"", metadata=bearer(one)))
        assert (error.code(), reason(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        retry = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(retry) for detail in details(error).details)
        assert 0 < retry.retry_delay.ToNanoseconds() / 1e9 <= 60
        headers = {"authorization": f"Bearer {one}"}
        reply = await door.http.post(GENERATE, json={}, headers=headers)
        assert reply.status_code == 429
        assert 0 < int(reply.headers["retry-after"]) <= 60
        await door.stub(GENERATE)(b"", metadata=bearer(other))
        assert backend.calls() == 2


async def test_tokens_are_settled_by_what_the_service_reports(backend, tmp_path):
    keys = Keys(tmp_path)
    text = keys.add("one", limits={"tokens_per_minute": 300})
    request = GenerateRequest(prompt="x").SerializeToString()  # expects the usual 256 tokens

    async def cheap(request, context):
        return await answer_with(Usage(output_tokens=5), context)

    async def dear(request, context):
        return await answer_with(Usage(output_tokens=500), context)

    async with gateway(settings={"keys": keys.settings}, sampler=[backend]) as door:
        backend.on(GENERATE, cheap)
        for _ in range(5):
            await door.stub(GENERATE)(request, metadata=bearer(text))
        backend.on(GENERATE, dear)
        await door.stub(GENERATE)(request, metadata=bearer(text))
        error = await refused(door.stub(GENERATE)(request, metadata=bearer(text)))
        assert "300 tokens a minute" in error.details()


async def test_training_is_paid_for_when_a_job_is_accepted(backend, tmp_path):
    keys = Keys(tmp_path)
    text = keys.add("one", limits={"training_minutes_per_day": 100})
    reply = CreateJobResponse()

    async def accept(request, context):
        return reply.SerializeToString()

    backend.on(CREATE_JOB, accept)
    async with gateway(settings={"keys": keys.settings}, finetune=[backend]) as door:

        async def create(seconds=0, **fields):
            request = CreateJobRequest(**fields)
            request.spec.resources.max_seconds = seconds
            await door.channel.unary_unary(CREATE_JOB)(request.SerializeToString(), metadata=bearer(text))

        await create(seconds=5000, validate_only=True)
        reply.job.forecast.duration_seconds = 1200  # twenty minutes in place of an hour
        await create(seconds=3600)
        reply.existed = True
        await create(seconds=3600)
        reply.Clear()
        await create(seconds=4200)  # not forecast yet: seventy
        error = await refused(create(seconds=1200))
        assert "100 training minutes a day" in error.details()


async def test_a_call_that_never_began_costs_nothing(backend, tmp_path):
    keys = Keys(tmp_path)
    text = keys.add("one", limits={"tokens_per_minute": 300})
    request = GenerateRequest(prompt="x").SerializeToString()

    async def refuse(request, context):
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")

    backend.on(GENERATE, refuse)
    async with gateway(settings={"keys": keys.settings}, sampler=[backend]) as door:
        for _ in range(5):
            error = await refused(door.stub(GENERATE)(request, metadata=bearer(text)))
            assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_caller_that_leaves_gives_its_place_back(backend, tmp_path):
    keys = Keys(tmp_path)
    text = keys.add("one", limits={"concurrent": 1})
    arrived = asyncio.Event()

    async def hold(request, context):
        arrived.set()
        await asyncio.Event().wait()

    backend.on(GENERATE, hold)
    async with gateway(settings={"keys": keys.settings}, sampler=[backend]) as door:
        call = door.stub(GENERATE)(b"", metadata=bearer(text))
        await arrived.wait()
        error = await refused(door.stub(GENERATE)(b"", metadata=bearer(text)))
        assert "1 calls at a time" in error.details()
        call.cancel()
        backend.on(GENERATE, FakeBackend().behaviours.get(GENERATE))
        async with asyncio.timeout(10):
            while True:
                try:
                    await door.stub(GENERATE)(b"", metadata=bearer(text))
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)
