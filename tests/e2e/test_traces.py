"""One trace through the processes of a running platform, for a call through each door."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import grpc
import pytest

from gateway.cli.platform import readiness
from pequod.sampler.v1 import GenerateRequest, SamplerServiceStub
from tests.e2e.conftest import PORTS, environment, started
from tests.ports import lasting_ports
from tests.unit.common.collector import Collector, tree

CALLER = "00f067aa0ba902b7"
GENERATE = "pequod.sampler.v1.SamplerService/Generate"
EMBED = "pequod.tokenizer.v1.EmbeddingService/Embed"
PAINT = "pequod.diffusion.v1.DiffusionService/Generate"
PROMPT = "the white whale nobody else has heard of"


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """A platform, and the collector that its processes send their spans to."""
    folder = tmp_path_factory.mktemp("traced")
    (folder / "books").mkdir()
    (folder / "books/one.txt").write_text("THE WHALE AND THE SEA. " * 400)
    with Collector() as collector:
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
        with started(folder, PEQUOD_LOG_LEVEL="debug", **to) as platform:
            yield platform, collector


def context(letter, flags="01"):
    """Metadata of a caller in the trace of 32 such letters."""
    return {"traceparent": f"00-{letter * 32}-{CALLER}-{flags}"}


def post(platform, path, body, headers):
    """An answer of the HTTP door, which must be a good one."""
    request = urllib.request.Request(
        f"{platform.http}{path}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read()


def whole(collector, letter, *names):
    """The trace of that letter once spans of all these names are in it, and those above each of them."""

    def complete():
        spans = collector.of(letter * 32)
        known = {CALLER, *(each.id for each in spans)}
        is_whole = {each.name for each in spans} >= set(names) and {each.parent for each in spans} <= known
        return spans if is_whole else None

    return collector.until(complete)


def test_over_grpc(traced):
    platform, collector = traced
    with grpc.insecure_channel(platform.grpc) as channel:
        stub = SamplerServiceStub(channel)
        stub.Generate(GenerateRequest(prompt=PROMPT), metadata=tuple(context("a").items()), timeout=60)
    spans = whole(collector, "a", GENERATE, "queue", "steps")
    assert tree(spans) == [
        ("pequod-gateway", GENERATE, ""),
        ("pequod-gateway", GENERATE, GENERATE),
        ("pequod-sampler", GENERATE, GENERATE),
        ("pequod-sampler", "queue", GENERATE),
        ("pequod-sampler", "steps", GENERATE),
    ]
    served, attempt, work, queue, steps = spans
    assert [each.kind for each in spans[:3]] == ["server", "client", "server"]
    assert (served.parent, attempt.parent, work.parent) == (CALLER, served.id, attempt.id)
    assert queue.parent == steps.parent == work.id
    assert served.attributes["rpc.response.status_code"] == "OK"
    assert steps.attributes["pequod.model"] == "storyteller"
    assert steps.attributes["pequod.batch.rows"] >= 1


def test_over_json(traced):
    platform, collector = traced
    post(platform, f"/{EMBED}", {"inputs": [{"text": PROMPT}, {"text": "b"}]}, context("b"))
    spans = whole(collector, "b", f"POST /{EMBED}", "batch")
    assert [(each.service, each.kind) for each in spans[:4]] == [
        ("pequod-gateway", "server"),
        ("pequod-gateway", "internal"),
        ("pequod-gateway", "client"),
        ("pequod-tokenizer", "server"),
    ]
    for outer, inner in itertools.pairwise(spans[:4]):
        assert inner.parent == outer.id
    batch = next(each for each in spans if each.attributes.get("pequod.model") == "minilm")
    assert batch.name == "batch"
    assert batch.attributes["pequod.batch.number"] >= 1
    assert batch.attributes["pequod.batch.rows"] >= 1


def test_over_openais_door(traced):
    platform, collector = traced
    body = {"model": "peeps-diffusion", "prompt": PROMPT, "size": "32x32"}
    post(platform, "/v1/images/generations", body, context("c"))
    spans = whole(collector, "c", "POST /v1/images/generations", "network calls")
    assert ("pequod-diffusion", "network calls", PAINT) in tree(spans)
    assert ("pequod-diffusion", "queue", PAINT) in tree(spans)
    calls = next(each for each in spans if each.name == "network calls")
    assert calls.attributes["pequod.calls"] >= 1


def test_over_kserves_door_with_the_load_that_it_leads_to(traced):
    platform, collector = traced
    post(platform, "/v2/repository/models/peeps-clip/load", {}, context("d"))
    spans = whole(collector, "d", "load model", "POST /v2/repository/models/{model}/load")
    names = {(service, name) for service, name, _ in tree(spans)}
    assert {("pequod-tokenizer", "load model"), ("pequod-tokenizer", "read and warm up")} <= names
    load = next(each for each in spans if each.name == "load model")
    assert load.attributes["pequod.model"].startswith("peeps-clip:")


def test_a_job_is_below_the_call_that_made_it(traced):
    platform, collector = traced
    uploaded = platform.run("datasets", "upload", "books", "--json")
    dataset = json.loads(uploaded.stdout)["dataset"]
    spec = {"recipe": "ngram", "datasetId": dataset["datasetId"], "parameters": {"order": 2}}
    path = "/pequod.finetune.v1.FineTuneService/CreateJob"
    job = json.loads(post(platform, path, {"spec": spec}, context("e")))["job"]["jobId"]
    spans = whole(collector, "e", f"POST {path}", "job ngram", "publish")
    run = next(each for each in spans if each.name == "job ngram")
    made = next(each for each in spans if (each.service, each.kind) == ("pequod-finetune", "server"))
    assert (run.service, run.parent) == ("pequod-worker", made.id)
    assert run.attributes["pequod.job"] == job
    assert run.attributes["pequod.job_state"] == "succeeded"
    below = [name for service, name, parent in tree(spans) if parent == "job ngram"]
    assert below == ["prepare", "train", "publish"]


def test_log_lines_of_a_call_name_its_trace_in_every_process(traced):
    platform, _ = traced
    post(platform, f"/{EMBED}", {"inputs": [{"text": "a"}]}, context("5"))
    for process in ("gateway", "tokenizer"):
        log = (platform.folder / f"var/log/{process}.log").read_text()
        lines = [line for line in map(json.loads, log.splitlines()) if line.get("trace_id") == "5" * 32]
        assert [line["message"] for line in lines] == ["call"]


def test_no_span_holds_what_callers_wrote(traced):
    platform, collector = traced
    key = {"authorization": "Bearer pq_not-for-anyone"}
    with pytest.raises(urllib.error.HTTPError):
        post(platform, f"/{GENERATE}", {"prompt": PROMPT, "model": PROMPT}, {**context("f"), **key})
    spans = whole(collector, "f", f"POST /{GENERATE}")
    seen = repr(collector.spans)
    assert PROMPT not in seen
    assert "not-for-anyone" not in seen
    assert not any(each.failed for each in spans if each.kind == "server")


def test_a_trace_that_its_caller_does_not_keep_is_not_kept(traced):
    platform, collector = traced
    post(platform, f"/{EMBED}", {"inputs": [{"text": "a"}]}, context("9", flags="00"))
    post(platform, f"/{EMBED}", {"inputs": [{"text": "a"}]}, context("8"))
    whole(collector, "8", f"POST /{EMBED}", "batch")
    assert not collector.of("9" * 32)


@contextlib.contextmanager
def embedding(folder, **extra):
    """The tokenizer and a gateway before it, all that an embedding takes; both must end well."""
    ports = lasting_ports(PORTS)
    variables = {**environment(ports), "PEQUOD_TOKENIZER_PRELOAD": "minilm", **extra}
    processes = []
    try:
        for module in ("gateway", "services.tokenizer"):
            with (folder / f"{module}.log").open("ab") as log:
                command = [sys.executable, "-m", module]
                processes.append(subprocess.Popen(command, env=variables, cwd=folder, stderr=log))
        http = f"http://127.0.0.1:{ports[1]}"
        deadline = time.monotonic() + 60
        while not ((readiness(http) or {}).get("services", {}).get("tokenizer", {}).get("ready")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield SimpleNamespace(http=http)
        for process in processes:
            process.terminate()
            assert process.wait(30) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_spans_that_wait_are_sent_at_the_end_and_a_collector_that_is_away_delays_nothing(tmp_path):
    with Collector() as collector:
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
        with embedding(tmp_path, **to) as platform:
            post(platform, f"/{EMBED}", {"inputs": [{"text": "a"}]}, context("7"))
            assert not collector.spans
        assert {each.service for each in collector.of("7" * 32)} == {"pequod-gateway", "pequod-tokenizer"}
    with embedding(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint) as platform:  # it is gone
        post(platform, f"/{EMBED}", {"inputs": [{"text": "a"}]}, context("6"))
