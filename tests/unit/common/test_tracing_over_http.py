"""Spans as OTLP over HTTP, to a receiver of it."""

import pytest

from services.common.settings import SettingsError
from services.common.tracing import rpc, sdk, spans
from services.common.tracing.settings import tracing_settings
from services.common.tracing.starting import tracing
from tests.unit.common.collector import Collector, HttpCollector, tree

METHOD = "/pequod.sampler.v1.SamplerService/Generate"
HTTP = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


@pytest.fixture
def collector():
    with HttpCollector() as started:
        yield started


def test_a_call_and_what_is_below_it(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    to = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.endpoint}/"}
    with tracing("sampler", {**HTTP, **to}), rpc.served(METHOD, ()) as call:
        with spans.span("load model", {"pequod.model": "m"}):
            pass
        rpc.answered(call, "OK")
    assert tree(collector.spans) == [
        ("pequod-sampler", METHOD[1:], ""),
        ("pequod-sampler", "load model", METHOD[1:]),
    ]
    (path, headers), *_ = collector.requests
    headers = {name.lower(): value for name, value in headers.items()}
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["content-encoding"] == "gzip"
    assert headers["x-key"] == "mine"


def test_settings_for_traces_alone_go_first(collector):
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    own = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/my/traces",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    }
    with tracing("gateway", {**away, **own}), rpc.served(METHOD, ()):
        pass
    assert {path for path, _ in collector.requests} == {"/my/traces"}
    assert tree(collector.spans) == [("pequod-gateway", METHOD[1:], "")]


def test_grpc_stays_the_protocol_that_nobody_chose():
    with Collector() as collector:
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": " "}
        with tracing("sampler", to), rpc.served(METHOD, ()):
            pass
        assert tree(collector.spans) == [("pequod-sampler", METHOD[1:], "")]


def test_over_http_an_address_has_its_scheme():
    address = {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}
    assert tracing_settings(address).address == "collector:4318"
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT='collector:4318' .* http://"):
        tracing_settings({**address, **HTTP})


@pytest.mark.parametrize("is_there", [True, False])
def test_who_does_not_answer_holds_up_neither_calls_nor_the_end(collector, monkeypatch, is_there):
    monkeypatch.setattr(sdk, "FLUSH_SECONDS", 0.2)
    collector.held.clear()
    address = collector.endpoint if is_there else "http://127.0.0.1:1"
    with tracing("sampler", {**HTTP, "OTEL_EXPORTER_OTLP_ENDPOINT": address}):
        for _ in range(600):  # more than a batch, so that one is under way
            with rpc.served(METHOD, ()):
                pass
        assert not is_there or collector.asked.wait(30)
    assert not spans.is_on()
    assert not collector.spans
