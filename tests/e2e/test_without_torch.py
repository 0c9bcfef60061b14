"""What ships is served without torch: on a platform of its own, for other tests export and train."""

from __future__ import annotations

import psutil
import pytest

from tests.e2e.conftest import started

CALLS = {
    "tokenizer": ("tokenizer.v1.EmbeddingService/Embed", {"inputs": [{"text": "a whale"}]}),
    "sampler": ("sampler.v1.SamplerService/Generate", {"prompt": "Call me", "stopping": {"maxTokens": 5}}),
    "gan": ("gan.v1.GanService/Sample", {"n": 1}),
}
"""A method and a request of services that answer at once."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    with started(tmp_path_factory.mktemp("without-torch")) as running:
        yield running


def assert_without_torch(platform, service):
    """By the files that the service's processes have mapped."""
    children = psutil.Process(platform.process.pid).children(recursive=True)
    found = [each for each in children if f"services.{service}" in each.cmdline()]
    assert found
    mapped = {mapped.path for each in found for mapped in each.memory_maps()}
    assert any("onnxruntime" in each for each in mapped)
    assert not [each for each in mapped if "libtorch" in each]


@pytest.mark.parametrize("service", sorted(CALLS))
def test_a_call_is_answered_without_torch(platform, service):
    method, body = CALLS[service]
    status, reply = platform.post(f"pequod.{method}", body)
    assert status == 200, reply
    assert_without_torch(platform, service)


def test_a_picture_is_drawn_without_torch(platform):
    done = platform.run("image", "a smiling person", "--steps", "2", "--seed", "1", "-o", "one.png")
    assert done.returncode == 0, done.stderr
    assert_without_torch(platform, "diffusion")
