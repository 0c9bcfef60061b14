"""Ejection, half-open probes and the choice among backends, with a clock of our own."""

import grpc
import pytest

from gateway.call import BackendError, Call
from gateway.upstream.outlier import BASE_SECONDS, FAILURES, Outcome, Outlier
from gateway.upstream.pool import Pool
from gateway.upstream.retry import RetryBudget, repeatable
from services.common.errors import Reason, ServiceError
from services.common.metrics import Metrics
from tests.unit.gateway.fakes import EMBED_STREAM, GENERATE, METHODS


class Stub:
    """As much of a backend as a pool looks at."""

    def __init__(self, address):
        self.address = address
        self.serving = True
        self.outstanding = 0
        self.outlier = Outlier()


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def pool(clock, count):
    return Pool("sampler", [Stub(f"b{i}") for i in range(count)], Metrics("gateway"), clock)


def run(pool, backend, outcome):
    pool.begin(backend)
    pool.end(backend, outcome)


def fail(pool, backend, times=FAILURES):
    for _ in range(times):
        run(pool, backend, Outcome.BAD)


def test_failures_must_be_in_a_row(clock):
    two = pool(clock, 2)
    bad = two.backends[0]
    fail(two, bad, FAILURES - 1)
    run(two, bad, Outcome.GOOD)
    fail(two, bad, FAILURES - 1)
    assert not bad.outlier.ejected
    run(two, bad, Outcome.NEUTRAL)
    fail(two, bad, 1)
    assert bad.outlier.ejected


def test_an_ejected_backend_gets_one_probe_and_a_longer_ejection_when_it_fails(clock):
    two = pool(clock, 2)
    bad, good = two.backends
    fail(two, bad)
    assert {two.pick() for _ in range(6)} == {good}
    for n in (1, 2, 3):
        clock.now += BASE_SECONDS * n - 0.1
        assert {two.pick() for _ in range(6)} == {good}
        clock.now += 0.2
        assert bad in {two.pick() for _ in range(6)}
        two.begin(bad)
        assert {two.pick() for _ in range(6)} == {good}, "one probe at a time"
        two.end(bad, Outcome.BAD)
    clock.now += BASE_SECONDS * 4 + 0.1
    run(two, bad, Outcome.GOOD)
    assert not bad.outlier.ejected
    fail(two, bad)
    clock.now += BASE_SECONDS + 0.1
    assert bad in {two.pick() for _ in range(6)}, "a good probe clears the record"


def test_a_probe_that_says_nothing_makes_room_for_another(clock):
    two = pool(clock, 2)
    bad = two.backends[0]
    fail(two, bad)
    clock.now += BASE_SECONDS + 0.1
    run(two, bad, Outcome.NEUTRAL)
    assert bad.outlier.ejected
    assert bad in {two.pick() for _ in range(6)}


def test_a_late_failure_of_an_ejected_backend_does_not_prolong(clock):
    two = pool(clock, 2)
    bad = two.backends[0]
    two.begin(bad)
    fail(two, bad)
    two.end(bad, Outcome.BAD)
    clock.now += BASE_SECONDS + 0.1
    assert bad in {two.pick() for _ in range(6)}


@pytest.mark.parametrize(("count", "ejected"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_at_most_half_are_ejected(clock, count, ejected):
    some = pool(clock, count)
    for backend in some.backends:
        fail(some, backend)
    assert sum(b.outlier.ejected for b in some.backends) == ejected


def test_the_only_healthy_one_is_not_ejected(clock):
    two = pool(clock, 2)
    two.backends[1].serving = False
    fail(two, two.backends[0], 2 * FAILURES)
    assert not two.backends[0].outlier.ejected


def test_an_ejected_backend_serves_when_nothing_else_is_left(clock):
    two = pool(clock, 2)
    bad, good = two.backends
    fail(two, bad)
    good.serving = False
    assert two.pick() is bad
    bad.serving = False
    with pytest.raises(ServiceError) as caught:
        two.pick()
    assert caught.value.reason is Reason.BACKEND_DOWN
    assert caught.value.retry_after > 0


def test_the_budget_is_a_share_of_the_calls():
    budget = RetryBudget(ratio=0.25, reserve=2)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(4):
        assert not budget.spend()
        budget.earn()
    assert budget.spend()
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("code", "begun", "again"),
    [
        (grpc.StatusCode.UNAVAILABLE, False, True),
        (grpc.StatusCode.CANCELLED, False, True),
        (grpc.StatusCode.UNAVAILABLE, True, False),
        (grpc.StatusCode.INTERNAL, False, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, False, False),
    ],
)
def test_what_may_be_tried_again(code, begun, again):
    call = Call(METHODS[GENERATE], (), b"", None, None)
    call.begun = begun
    assert repeatable(call, BackendError(code, "x")) is again


def test_paths_of_the_tests_have_their_kinds():
    assert METHODS[EMBED_STREAM].request_streaming
    assert METHODS[EMBED_STREAM].response_streaming
