"""Spans: where they go, whose they are, what they hold, and that nobody waits for a collector."""

import json
import logging
import subprocess
import sys
import time

import pytest

from services.common import log
from services.common.errors import invalid
from services.common.settings import SettingsError
from services.common.tracing import rpc, sdk, spans
from services.common.tracing.context import context_in, onward, trace_id_in
from services.common.tracing.settings import tracing_settings
from services.common.tracing.starting import tracing
from tests.unit.common.collector import Collector, tree

METHOD = "/pequod.sampler.v1.SamplerService/Generate"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT = f"00-{TRACE}-{CALLER}-01"
DROPPED = f"00-{TRACE}-{CALLER}-00"


@pytest.fixture
def collector():
    with Collector() as started:
        yield started


def to(collector, **more):
    return tracing("sampler", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, **more})


def test_a_call_and_what_is_below_it(collector):
    with to(collector), rpc.served(METHOD, (("traceparent", KEPT), ("tracestate", "them=1"))) as call:
        with spans.span("load model", {"pequod.model": "m"}), spans.span("fetch files"):
            pass
        now = time.monotonic()
        spans.record("queue", now - 2, now - 1)
        rpc.answered(call, "OK")
    assert tree(collector.of(TRACE)) == [
        ("pequod-sampler", "queue", METHOD[1:]),
        ("pequod-sampler", METHOD[1:], ""),
        ("pequod-sampler", "load model", METHOD[1:]),
        ("pequod-sampler", "fetch files", "load model"),
    ]
    queue, call, load, _ = collector.of(TRACE)
    assert (call.kind, call.parent, load.kind) == ("server", CALLER, "internal")
    assert 0.9e9 < queue.end - queue.begin < 1.1e9  # as it was recorded, not as long as that took
    assert call.attributes["rpc.system"] == call.attributes["rpc.system.name"] == "grpc"
    assert call.attributes["rpc.method"] == METHOD[1:]
    assert call.attributes["rpc.response.status_code"] == "OK"
    assert not call.failed


def test_the_name_of_the_process_and_of_its_part_can_be_chosen(collector):
    with to(collector, OTEL_SERVICE_NAME="mine"), rpc.served(METHOD, ()):
        pass
    (root,) = collector.spans
    assert (root.service, root.parent) == ("mine", "")


def test_each_side_of_a_call_has_errors_of_its_own(collector):
    with to(collector):
        for code in ("NOT_FOUND", "UNAVAILABLE"):
            with rpc.served(METHOD, ()) as call, rpc.called(METHOD, "[::1]:50062", 2) as attempt:
                rpc.got(attempt, code)
                rpc.answered(call, code)
    ended = {(each.kind, each.attributes["rpc.response.status_code"]): each for each in collector.spans}
    assert not ended["server", "NOT_FOUND"].failed
    assert ended["server", "UNAVAILABLE"].attributes["error.type"] == "UNAVAILABLE"
    assert ended["client", "NOT_FOUND"].failed
    attempt = ended["client", "UNAVAILABLE"].attributes
    assert (attempt["server.address"], attempt["server.port"], attempt["pequod.attempt"]) == ("::1", 50062, 2)


def test_who_is_called_hears_of_the_span_that_calls_and_gets_the_baggage_as_it_came(collector):
    baggage = ("baggage", "user=1")
    given = (("x-request-id", "a"), ("traceparent", KEPT), ("tracestate", "them=1"), baggage)
    with to(collector), rpc.served(METHOD, given), rpc.called(METHOD, "127.0.0.1:1", 1):
        sent = dict(onward(given))
    (attempt,) = (each for each in collector.spans if each.kind == "client")
    assert sent == {
        "x-request-id": "a",
        "traceparent": f"00-{TRACE}-{attempt.id}-01",
        "tracestate": "them=1",
        "baggage": "user=1",
    }


def test_a_caller_that_keeps_no_trace_makes_us_keep_none(collector):
    given = (("traceparent", DROPPED),)
    with to(collector), rpc.served(METHOD, given), rpc.called(METHOD, "127.0.0.1:1", 1):
        sent = dict(onward(given))
    assert sent["traceparent"].startswith(f"00-{TRACE}-")
    assert sent["traceparent"].endswith("-00")
    assert not collector.spans


@pytest.mark.parametrize(
    ("sampler", "share", "parent", "kept"),
    [
        ("always_on", "1", DROPPED, True),
        ("always_off", "1", KEPT, False),
        ("parentbased_always_off", "1", "", False),
        ("parentbased_always_off", "1", KEPT, True),
        ("traceidratio", "0", KEPT, False),
        ("parentbased_traceidratio", "0", KEPT, True),
        ("parentbased_traceidratio", "0", "", False),
    ],
)
def test_the_sampler_decides(collector, sampler, share, parent, kept):
    chosen = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": share}
    with to(collector, **chosen), rpc.served(METHOD, (("traceparent", parent),)):
        pass
    assert bool(collector.spans) is kept


@pytest.mark.parametrize(
    "parent", ["", "00", KEPT.upper(), f"ff-{TRACE}-{CALLER}-01", f"00-{'0' * 32}-{CALLER}-01", "x" * 5000]
)
def test_a_context_that_cannot_be_read_begins_a_new_trace(collector, parent):
    with to(collector), rpc.served(METHOD, (("traceparent", parent),)) as call:
        assert log.trace_id.get() == call.trace_id
    (root,) = collector.spans
    assert root.trace not in (TRACE, "0" * 32)
    assert root.parent == ""
    assert trace_id_in(parent) == ""


def test_metadata_in_bytes_is_no_context():
    assert context_in((("traceparent", b"\xff"), ("tracestate", "a=1"))) == {"tracestate": "a=1"}


def test_an_error_is_told_by_its_reason_and_class_alone(collector):
    with to(collector):
        with pytest.raises(Exception, match="my prompt"), rpc.served(METHOD, ()), spans.span("plan"):
            raise invalid("prompt", "my prompt")
        with pytest.raises(ValueError, match="my prompt"), rpc.served(METHOD, ()), spans.span("plan"):
            raise ValueError("my prompt")
    assert "my prompt" not in repr(collector.spans)
    told = {each.attributes["error.type"] for each in collector.spans if each.name == "plan"}
    assert told == {"INVALID_FIELD", "ValueError"}


def test_spans_of_one_call_are_bounded_and_those_left_out_are_counted(collector):
    with to(collector), rpc.served(METHOD, ()):
        for _ in range(spans.MOST_CHILDREN + 5):
            with spans.span("row"):
                pass
    assert len(collector.spans) == 1 + spans.MOST_CHILDREN
    (call,) = (each for each in collector.spans if each.kind == "server")
    assert call.attributes["pequod.spans_left_out"] == 5


def test_what_nobody_called_for_has_no_span(collector):
    with to(collector):
        with spans.span("preload") as made:
            assert made is spans.NOTHING
        spans.record("queue", 0.0, 1.0)
    assert not collector.spans


def test_log_lines_of_a_call_name_its_trace(collector):
    record = logging.makeLogRecord({"msg": "hello"})
    line = log.JsonFormatter("sampler").format
    with to(collector):
        with rpc.served(METHOD, (("traceparent", KEPT),)):
            assert json.loads(line(record))["trace_id"] == TRACE
        assert "trace_id" not in json.loads(line(record))


def test_without_an_address_nothing_is_imported_and_nothing_is_made():
    program = f"""
import sys, gateway.app, services.sampler.servicer
from services.common.tracing import rpc, spans
from services.common.tracing.context import onward
from services.common.tracing.starting import tracing
given = (("traceparent", "{KEPT}"),)
with tracing("gateway", {{"OTEL_SERVICE_NAME": "x"}}), rpc.served("{METHOD}", given) as call:
    assert call is spans.NOTHING and onward(given) is given
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_it_can_be_turned_off(collector, off):
    with to(collector, **off):
        assert not spans.is_on()


def test_the_address_of_traces_goes_first_and_an_empty_one_is_none():
    both = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:1"}
    assert tracing_settings(both).address == "http://b:1"
    assert tracing_settings({**both, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": " "}).address == "http://a:1"
    assert tracing_settings({"OTEL_TRACES_SAMPLER": ""}).sampler == "parentbased_always_on"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "smoke"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_SDK_DISABLED", "perhaps"),
    ],
)
def test_a_bad_value_stops_the_start(name, value):
    with pytest.raises(SettingsError, match=name):
        tracing_settings({name: value})


def test_a_collector_that_does_not_answer_holds_up_neither_calls_nor_the_end(collector, monkeypatch):
    monkeypatch.setattr(sdk, "FLUSH_SECONDS", 0.2)
    collector.held.clear()
    with to(collector, OTEL_BSP_SCHEDULE_DELAY="1"):
        for _ in range(3000):
            with rpc.served(METHOD, ()):
                pass
        assert collector.asked.wait(30)
    assert not collector.spans  # all of that went by without an answer


def test_of_what_waits_for_a_collector_the_oldest_is_dropped(collector):
    collector.held.clear()
    with to(collector):
        for number in range(5000):
            with rpc.served(METHOD, ()) as call:
                call.set({"number": number})
        collector.held.set()
    numbers = {each.attributes["number"] for each in collector.spans}
    assert 4999 in numbers
    assert 2048 <= len(numbers) < 5000


def test_a_collector_that_is_away_holds_up_neither_calls_nor_the_end(monkeypatch):
    monkeypatch.setattr(sdk, "FLUSH_SECONDS", 0.2)
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with tracing("sampler", away), rpc.served(METHOD, ()) as call:
        rpc.answered(call, "OK")
    assert not spans.is_on()
