"""The real Envoy with the configuration that is deployed, in front of a running platform."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request

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
from tests.clients.environment import programs
from tests.contract.deploy.manifests import K8S
from tests.e2e.conftest import free_ports
from tests.unit.common.certificates import Authority

CONFIGURATION = K8S / "components/envoy"


class Envoy:
    """The deployed configuration, with the addresses of a test in place of the cluster's."""

    def __init__(self, folder, platform):
        self.folder = folder
        authority = Authority()
        authority.issue().write(folder, "tls")
        self.authorities = authority.certificate
        self.public, self.side, self.admin = free_ports(3)
        replaced = {
            "gateway-pods": "127.0.0.1",
            "0.0.0.0": "127.0.0.1",
            "/etc/envoy-tls": str(folder),
            "/etc/envoy": str(folder),
            "port_value: 50051": f"port_value: {platform.environment['PEQUOD_GATEWAY_PORT']}",
            "port_value: 8080": f"port_value: {platform.environment['PEQUOD_GATEWAY_HTTP_PORT']}",
            "port_value: 9050": f"port_value: {platform.environment['PEQUOD_GATEWAY_ADMIN_PORT']}",
            "port_value: 8443": f"port_value: {self.public}",
            "port_value: 9902": f"port_value: {self.side}",
            "port_value: 9901": f"port_value: {self.admin}",
        }
        for name in ("envoy.yaml", "certificate.yaml"):
            text = (CONFIGURATION / name).read_text()
            for old, new in replaced.items():
                text = text.replace(old, new)
            (folder / name).write_text(text)
        self.command = [str(programs("envoy") / "envoy"), "--config-path", str(folder / "envoy.yaml")]

    def get(self, path, port=None, body=None):
        """Status and text of an answer; by TLS, except from the side port."""
        trusted = ssl.create_default_context(cadata=self.authorities.decode())
        base = f"https://localhost:{self.public}" if port is None else f"http://127.0.0.1:{port}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"{base}{path}", data=data, headers={"content-type": "application/json"}
        )
        try:
            context = trusted if port is None else None
            with urllib.request.urlopen(asked, timeout=30, context=context) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture(scope="module")
def envoy(tmp_path_factory, platform):
    """It runs, and has found its backends healthy."""
    folder = tmp_path_factory.mktemp("envoy")
    made = Envoy(folder, platform)
    arguments = ["--concurrency", "1", "--use-dynamic-base-id", "--log-path", str(folder / "envoy.log")]
    process = subprocess.Popen(
        [*made.command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not _healthy(made):
            assert time.monotonic() < deadline, (folder / "envoy.log").read_text()[-3000:]
            time.sleep(0.1)
        yield made
    finally:
        process.terminate()
        process.wait(30)


def _healthy(envoy):
    try:
        return envoy.get("/readyz")[0] == 200
    except OSError:
        return False


def test_the_real_envoy_takes_the_configuration(tmp_path, platform):
    made = Envoy(tmp_path, platform)
    done = subprocess.run(
        [*made.command, "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False
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
