"""A model leaves for Triton: its repository is as Triton reads it; the graph gives what is served here."""

from __future__ import annotations

import json

import grpc
import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

import inference as pb
from services.common.pictures.arrays import to_array, to_pixels
from tests.e2e.conftest import QUIET, started

MODEL = "peeps-upscaler"
SIDE = 16
DTYPES = {"tensor(float)": pb.TYPE_FP32}


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """A platform of its own: an export loads torch into the service that makes it."""
    with started(tmp_path_factory.mktemp("exporting"), **QUIET) as running:
        yield running


@pytest.fixture(scope="module")
def repository(platform):
    """The folder with the export's ``config.pbtxt``, made anew."""
    done = platform.run("models", "export", MODEL, "--format", "triton", "--json", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    exported = json.loads(done.stdout.splitlines()[-1])
    assert sorted(each["path"] for each in exported["files"]) == [
        f"{MODEL}/1/model.onnx",
        f"{MODEL}/config.pbtxt",
    ]
    return platform.folder / exported["location"] / MODEL


@pytest.fixture(scope="module")
def graph(repository):
    return onnxruntime.InferenceSession(repository / "1/model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.timeout(600)
def test_the_configuration_is_that_of_the_graph(repository, graph):
    config = text_format.Parse((repository / "config.pbtxt").read_text(), pb.ModelConfig())
    assert (config.name, config.backend) == (MODEL, "onnxruntime")
    assert config.max_batch_size > 0
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    for told, true in ((config.input, graph.get_inputs()), (config.output, graph.get_outputs())):
        assert [each.name for each in told] == [each.name for each in true]
        assert [each.data_type for each in told] == [DTYPES[each.type] for each in true]
        for ours, theirs in zip(told, true, strict=True):
            batch, *sizes = theirs.shape
            assert isinstance(batch, str)  # free, as it is where Triton may batch
            assert list(ours.dims) == [-1 if isinstance(size, str) else size for size in sizes]


@pytest.mark.timeout(600)
def test_the_graph_gives_what_is_served(platform, graph):
    picture = np.random.default_rng(7).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    (made,) = graph.run(None, {"picture": to_array(picture)[None]})
    request = pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[picture.tobytes()])
    request.inputs.add(name="image", datatype="UINT8", shape=picture.shape)
    request.parameters["factor"].int64_param = 2
    with grpc.insecure_channel(platform.grpc) as channel:
        reply = pb.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    (output,) = reply.outputs
    served = np.frombuffer(reply.raw_output_contents[0], np.uint8).reshape(output.shape)
    assert served.shape == (2 * SIDE, 2 * SIDE, 3)
    # A number between two bytes may be rounded to either.
    assert np.abs(to_pixels(made[0]).astype(int) - served).max() <= 1
