"""The real Envoy with the configuration that is deployed, in front of a running platform."""

from __future__ import annotations

import json
import subprocess
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pequod.sampler.v1 import (
    GenerateRequest,
    GenerateStreamRequest,
    NgramOptions,
    SamplerServiceStub,
    Stopping,
)
from tests.clients.envoy import Door, Envoy
from tests.ports import lasting_ports


def made(folder, platform):
    """Envoy's files for the platform's gateway."""
    ports = [int(platform.environment[f"PEQUOD_GATEWAY_{name}PORT"]) for name in ("", "HTTP_", "ADMIN_")]
    return Envoy(folder, [Door("127.0.0.1", *ports)], tuple(lasting_ports(3)))


@pytest.fixture(scope="module")
def envoy(tmp_path_factory, platform):
    """It runs, and has found its backends healthy."""
    envoy = made(tmp_path_factory.mktemp("envoy"), platform)
    process = subprocess.Popen(
        [*envoy.command, *envoy.arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not envoy.ready():
            assert time.monotonic() < deadline, envoy.log.read_text()[-3000:]
            time.sleep(0.1)
        yield envoy
    finally:
        process.terminate()
        process.wait(30)


def test_the_real_envoy_takes_the_configuration(tmp_path, platform):
    done = subprocess.run(
        [*made(tmp_path, platform).command, "--mode", "validate"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "OK" in done.stdout + done.stderr


def test_grpc_passes_by_tls_unary_and_as_a_stream(envoy):
    credentials = grpc.ssl_channel_credentials(envoy.authorities)
    given = {
        "model": "moby-ngram",
        "prompt": "THE ",
        "stopping": Stopping(max_tokens=40),
        "ngram": NgramOptions(order=3),
    }
    with grpc.secure_channel(f"localhost:{envoy.public}", credentials) as channel:
        stub = SamplerServiceStub(channel)
        assert len(stub.Generate(GenerateRequest(**given), timeout=30).completions[0].text) == 40
        assert "".join(each.text for each in stub.GenerateStream(GenerateStreamRequest(**given), timeout=30))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Generate(GenerateRequest(**given | {"model": "nobody"}), timeout=30)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        assert "nobody" in refused.value.details()
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_json_and_openais_api_pass_by_tls(envoy):
    body = {"texts": ["Call me Ishmael."]}
    status, text = envoy.get("/pequod.tokenizer.v1.TokenizerService/CountTokens", body=body)
    assert (status, "counts" in text) == (200, True)
    status, text = envoy.get("/v1/models")
    assert status == 200
    assert "storyteller" in {each["id"] for each in json.loads(text)["data"]}


def test_plain_text_and_strange_paths_are_refused(envoy):
    with pytest.raises(OSError, match=r"closed|reset|refused|Remote|BadStatusLine|disconnected"):
        envoy.get("/readyz", port=envoy.public)
    assert envoy.get("/v1/%2Fmodels")[0] == 400


def test_the_side_port_shows_readiness_and_figures_and_no_more(envoy):
    assert envoy.get("/ready", port=envoy.side)[0] == 200
    assert "envoy_cluster_upstream_rq" in envoy.get("/stats/prometheus", port=envoy.side)[1]
    for path in ("/", "/quitquitquit", "/config_dump"):
        assert envoy.get(path, port=envoy.side)[0] == 404
