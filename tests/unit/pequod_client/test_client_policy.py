"""When a call is tried again, by a clock that stands still."""

from __future__ import annotations

import grpc
import pytest

from pequod_client import TLS, PequodError, RetryPolicy
from pequod_client import policy as policy_module
from pequod_client.connection import channel_options
from pequod_client.policy import CallPolicy


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [100.0]
    monkeypatch.setattr(policy_module.time, "monotonic", lambda: now[0])
    return now


def error(retry_after, code=grpc.StatusCode.UNAVAILABLE):
    return PequodError(code, "refused", retry_after=retry_after)


def test_wait_is_the_servers_and_a_little_more():
    waits = {RetryPolicy(jitter=0.5).wait(error(2.0), 1) for _ in range(100)}
    assert len(waits) > 1
    assert all(2.0 <= wait <= 3.0 for wait in waits)


def test_without_jitter_the_wait_is_exact():
    assert RetryPolicy(jitter=0).wait(error(2.0), 1) == 2.0
    assert RetryPolicy(jitter=0).wait(error(0.0), 1) == 0.0


@pytest.mark.parametrize(
    ("refused", "attempts"),
    [
        (error(None), 1),
        (error(1.0, grpc.StatusCode.INTERNAL), 1),
        (error(1.0, grpc.StatusCode.DEADLINE_EXCEEDED), 1),
        (error(1.0), 4),
    ],
    ids=["no RetryInfo", "a bug", "too late", "the last try"],
)
def test_no_other_try(refused, attempts):
    assert RetryPolicy(max_attempts=4).wait(refused, attempts) is None


def test_tries_share_one_deadline_and_one_id(clock):
    attempts = CallPolicy(timeout=60, stream_timeout=600).begin(10, None)
    first = attempts.settings()
    clock[0] += 4
    second = attempts.settings()
    assert (first["timeout"], second["timeout"]) == (10, 6)
    assert first["metadata"] == second["metadata"] == (("x-request-id", attempts.request_id),)
    clock[0] += 60
    assert attempts.settings()["timeout"] == 0


def test_the_callers_metadata_comes_after_ours():
    key = ("authorization", "Bearer k")
    attempts = CallPolicy(60, 600, metadata=(key,)).begin(10, [("x-request-id", "mine"), ("a", "b")])
    assert attempts.metadata == (key, ("x-request-id", "mine"), ("a", "b"))
    assert attempts.request_id == "mine"


def test_options_of_the_caller_win():
    options = channel_options(TLS(server_name="gateway"), [("grpc.keepalive_time_ms", 5)])
    assert dict(options)["grpc.keepalive_time_ms"] == 5
    assert dict(options)["grpc.ssl_target_name_override"] == "gateway"
    assert dict(options)["grpc.max_receive_message_length"] == 32 * 2**20


def test_half_an_identity_is_refused():
    with pytest.raises(ValueError, match="go together"):
        TLS(key=b"key").credentials()
