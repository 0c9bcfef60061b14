"""Triton's and KServe's own clients against the real platform, each in an environment of its own."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from pequod.gan.v1 import GanServiceStub, SampleRequest
from pequod.sampler.v1 import GenerateRequest, SamplerServiceStub
from pequod.tokenizer.v1 import EmbeddingServiceStub, EmbedInput, EmbedRequest
from tests.clients.environment import programs

pytestmark = pytest.mark.timeout(600)  # an environment may have to be made

SCRIPTS = Path(__file__).parents[1] / "clients"
README = Path(__file__).parents[2] / "README.md"
TEXTS = ("a whale", "a ship at sea")
SEEDS = (7, 8)
PROMPT = "The old captain"


def run(platform, environment, script):
    """What a script of ``tests/clients`` prints, run against the platform."""
    python = programs(environment) / "python"
    addresses = (platform.grpc, platform.http.removeprefix("http://"))
    command = [python, "-I", SCRIPTS / script, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def channel(platform):
    with grpc.insecure_channel(platform.grpc) as made:
        yield made


@pytest.fixture(scope="module")
def vectors(channel):
    """MiniLM's vectors of the texts by our own API."""
    inputs = [EmbedInput(text=text) for text in TEXTS]
    reply = EmbeddingServiceStub(channel).Embed(EmbedRequest(model="minilm", inputs=inputs), timeout=60)
    return np.array([each.values for each in reply.embeddings], np.float32)


def text(channel, **sampling):
    request = GenerateRequest(model="storyteller", prompt=PROMPT)
    request.stopping.max_tokens = 12
    for name, value in sampling.items():
        setattr(request.sampling, name, value)
    return SamplerServiceStub(channel).Generate(request, timeout=60).completions[0].text


def faces(channel, **attributes):
    request = SampleRequest(model="peeps-gan", seeds=SEEDS)
    request.options.attributes.update(attributes)
    images = GanServiceStub(channel).Sample(request, timeout=60).images
    return np.stack([np.asarray(Image.open(io.BytesIO(each.image.data)).convert("RGB")) for each in images])


@pytest.fixture(scope="module")
def triton(platform):
    return run(platform, "tritonclient", "triton_calls.py")


@pytest.mark.parametrize("door", ["grpc", "http"])
def test_tritons_client_learns_what_there_is(triton, door):
    about = triton[door]["about"]
    assert about["live"]
    assert about["ready"]
    assert about["metadata"]
    assert about["model_ready"] == [True, True, False]
    assert all(about["models"])
    assert all(about["configs"])
    assert {"minilm", "words", "storyteller", "peeps-gan", "peeps-diffusion"} <= set(triton["index"])


@pytest.mark.parametrize("door", ["grpc", "http", "http_json"])
def test_tritons_client_gets_what_our_own_api_gives(triton, channel, vectors, door):
    found = triton[door]
    np.testing.assert_allclose(found["vectors"], vectors, atol=1e-6)
    assert found["words"] == [1, 300]
    expected = text(channel, seed=7, temperature=0.7)
    assert found["by_parameters"] == found["by_inputs"] == expected
    assert (np.array(found["faces"]) == faces(channel, background="blue")).all()
    assert found["painted"] == [1, 32, 32, 3]


def test_tritons_client_streams(triton, channel):
    stream = triton["stream"]
    assert "".join(stream["pieces"]) == stream["whole"] == text(channel, seed=7, temperature=0.7)
    assert stream["error"].startswith("no model 'nobody'")


@pytest.mark.parametrize("door", ["grpc_aio", "http_aio"])
def test_tritons_aio_client_asks_at_the_same_time(triton, vectors, door):
    np.testing.assert_allclose(triton[door], np.tile(vectors, (4, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("door", "codes"),
    [
        ("grpc", ["StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"]),
        ("http", ["400", "404", "400"]),
    ],
)
def test_tritons_client_is_told_what_is_wrong(triton, door, codes):
    told = triton[door]["refusals"]
    assert [code for code, _ in told] == codes
    assert told[0][1] == "inputs.txt: there is no such input; did you mean text?"
    assert told[1][1].startswith("no model 'nobody'")
    assert told[2][1] == "inputs.text: is FP32, BYTES[-1] is expected"


def test_tritons_client_counts_and_loads(triton):
    assert triton["counted"] == [1, 2]
    assert triton["repository"] == [[False, True], [False, True]]


def test_kserves_clients_get_what_our_own_api_gives(platform, channel, vectors):
    found = run(platform, "kserve", "kserve_calls.py")
    for door, forms in (("grpc", ("typed", "raw")), ("http", ("json", "binary"))):
        assert found[door]["live"]
        assert found[door]["ready"]
        assert found[door]["model_ready"] == [True, False]
        assert "inputs.txt: there is no such input; did you mean text?" in found[door]["refusal"]
        for form in forms:
            assert found[door][form]["id"] == "7"
            np.testing.assert_allclose(found[door][form]["vectors"], vectors, atol=1e-6)
            assert found[door][form]["text"] == text(channel, seed=7)
            assert (np.array(found[door][form]["faces"]) == faces(channel)).all()


def examples(language):
    """The README's blocks in ``language`` that speak of KServe."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in blocks if kind == language and ("tritonclient" in text or "/v2/" in text)]


def test_the_readmes_python_runs(platform):
    (example,) = examples("python")
    assert "127.0.0.1:50051" in example
    python = programs("tritonclient") / "python"
    command = [python, "-I", "-c", example.replace("127.0.0.1:50051", platform.grpc)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    *story, shapes = done.stdout.splitlines()
    assert "".join(story).strip()
    assert shapes == "(2, 384) (4, 32, 32, 3)"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_readmes_commands_run(platform):
    (example,) = examples("")
    address = platform.http.removeprefix("http://")
    commands = example.replace("\\\n", "").replace("curl -s", "curl -fs").splitlines()
    assert len(commands) == 4
    replies = []
    for command in commands:
        assert "localhost:8080" in command
        words = shlex.split(command.replace("localhost:8080", address))
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, command
        replies.append(done.stdout)
    assert json.loads(replies[0])["outputs"][0]["shape"] == [1, 384]
    assert json.loads(replies[1])["text_output"]
    assert replies[2].startswith("data: {")
    assert json.loads(replies[3])["platform"] == "pequod_stylegan"
