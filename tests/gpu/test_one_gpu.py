"""Several services on one GPU: all answer within their shares, and what does not fit is refused."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pynvml
import pytest

from pequod.diffusion import v1 as diffusion
from pequod.gan import v1 as gan
from pequod.sampler import v1 as sampler
from pequod.tokenizer import v1 as tokenizer
from services.common.export import Target
from services.common.gpus import Gpus
from tests.bench.children import HOME
from tests.bench.process import ServiceProcess
from tests.gpu.test_runtimes_gpu import need_cuda
from tests.unit.sampler import language_models as tiny
from tests.unit.tokenizer import encoder_models

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

GIB = 2**30
TOO_LITTLE = 2**16
SHARES = {"sampler": 2 * GIB, "tokenizer": GIB, "diffusion": 2 * GIB, "gan": GIB}
CONTEXT = GIB
"""What driver and libraries hold for a process beside what it allocates: code of kernels, mostly."""
MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A language model and an encoder; caches."""
    need_cuda(Target.ONNX)
    need_cuda(Target.TORCHSCRIPT)
    HOME.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("one-gpu")
    tiny.write("llama", folder / "hub" / "llama")
    encoder_models.sentence_transformer(encoder_models.directory(folder / "hub" / "bert", "bert"))
    return folder


def service(root, name, share, preload=""):
    settings = {
        f"PEQUOD_{name.upper()}_GPU_BYTES": str(share),
        f"PEQUOD_{name.upper()}_DEVICE": "cuda",
        f"PEQUOD_{name.upper()}_PRELOAD": preload,
        "PEQUOD_MODELS": str(MODELS),
        "PEQUOD_FILE_ROOTS": str(root / "hub"),
        "PEQUOD_CACHE": str(root / f"cache-{name}"),
    }
    return ServiceProcess(name, (f"services.{name}",), settings, f"gpu-{name}-{share}")


def write(channel, model, tokens=40):
    request = sampler.GenerateRequest(
        model=model, prompt="Call me", stopping=sampler.Stopping(max_tokens=tokens)
    )
    (completion,) = sampler.SamplerServiceStub(channel).Generate(request).completions
    assert len(completion.ids) > 0


def embed(channel, model):
    inputs = [tokenizer.EmbedInput(text=f"the whale {number}") for number in range(16)]
    reply = tokenizer.EmbeddingServiceStub(channel).Embed(tokenizer.EmbedRequest(model=model, inputs=inputs))
    assert len(reply.embeddings) == 16


def paint(channel, model):
    request = diffusion.GenerateRequest(model=model, prompt="a smiling person", steps=8)
    replies = list(diffusion.DiffusionServiceStub(channel).Generate(request))
    assert [reply.HasField("image") for reply in replies].count(True) == 1


def draw(channel, model):
    reply = gan.GanServiceStub(channel).Sample(gan.SampleRequest(model=model, n=4))
    assert len(reply.images) == 4


CALLS = {"sampler": write, "tokenizer": embed, "diffusion": paint, "gan": draw}


def models(root):
    return {
        "sampler": f"file:{root}/hub/llama",
        "tokenizer": f"file:{root}/hub/bert",
        "diffusion": "peeps-diffusion:1",
        "gan": "peeps-gan:1",
    }


def held(process):
    """Bytes of GPUs that a process holds, as the driver has them."""
    found = 0
    for index in range(pynvml.nvmlDeviceGetCount()):
        for each in pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(index)):
            if each.pid == process.pid:
                assert each.usedGpuMemory is not None, "the driver tells no process's memory here"
                found += each.usedGpuMemory
    return found


def metric(process, name):
    with urllib.request.urlopen(f"{process.side}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return float(re.search(rf'^{name}{{gpu="0"}} (\S+)$', text, re.MULTILINE).group(1))


def test_four_services_share_a_gpu_and_stay_within_their_shares(root):
    pynvml.nvmlInit()
    chosen = models(root)
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        started = {
            name: pool.submit(stack.enter_context, service(root, name, share, chosen[name]))
            for name, share in SHARES.items()
        }
        processes = {name: each.result() for name, each in started.items()}
        channels = {
            name: stack.enter_context(grpc.insecure_channel(each.target)) for name, each in processes.items()
        }
        for _ in range(5):
            calls = [
                pool.submit(CALLS[name], channels[name], chosen[name]) for name in SHARES for _ in range(4)
            ]
            for call in calls:
                call.result()
        for name, process in processes.items():
            assert 0 < held(process) <= SHARES[name] + CONTEXT, name
            assert metric(process, "pequod_gpu_memory_used_bytes") >= held(process)
            assert metric(process, "pequod_gpu_memory_total_bytes") == Gpus().read()[0].total_bytes


@pytest.mark.parametrize("name", ["sampler", "tokenizer", "diffusion", "gan"])
def test_a_model_that_its_share_cannot_hold_is_refused_and_the_service_goes_on(root, name):
    """Refused at loading, with what is lacking; the process lives and says that it is ready."""
    with service(root, name, TOO_LITTLE) as process, grpc.insecure_channel(process.target) as channel:
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as caught:
                CALLS[name](channel, models(root)[name])
            assert caught.value.code() in (
                grpc.StatusCode.FAILED_PRECONDITION,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            ), caught.value
            assert "memory" in caught.value.details()
        with urllib.request.urlopen(f"{process.side}/readyz", timeout=10) as reply:
            assert reply.status == 200
        if name == "sampler":
            write(channel, "moby-ngram:1")
