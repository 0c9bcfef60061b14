"""CUDA runs the same artefacts as the CPU, within tolerance, and a demand for it never ends on the CPU."""

import numpy as np
import onnxruntime
import pytest
import torch

from services.common.export import Target, export_graphs
from services.common.runtimes import open_runtime
from tests.unit.common.tiny_modules import FILES, encoder_spec, picture_spec

pytestmark = pytest.mark.gpu

GRAPHS = {"encoder": encoder_spec, "picture": picture_spec}


def need_cuda(target):
    if target is Target.ONNX and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built without CUDA (GPU=1 installs the one with it)")
    if target is Target.TORCHSCRIPT and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.fixture(
    params=[(graph, target) for graph in GRAPHS for target in FILES], ids=lambda p: f"{p[0]}-{p[1]}"
)
def exported(request, tmp_path):
    graph, target = request.param
    need_cuda(target)
    spec = GRAPHS[graph]()
    export_graphs({"model": spec}, tmp_path / "export", target)
    return spec, tmp_path / "export" / FILES[target]


def test_cuda_equals_the_cpu_at_every_size(exported):
    spec, file = exported
    cpu = open_runtime(file, threads=1, providers=("cpu",))
    cuda = open_runtime(file, threads=1, providers=("cuda",))
    assert cuda.providers[0] == "cuda"
    for sizes in (spec.example_sizes(), *spec.other_sizes()):
        feeds = {name: value.numpy() for name, value in spec.inputs_of(sizes).items()}
        expected, results = cpu.run(feeds), cuda.run(feeds)
        for name, value in results.items():
            np.testing.assert_allclose(value, expected[name], atol=spec.tolerance)
    cpu.close()
    cuda.close()


def test_the_same_feeds_give_the_same_bits_on_cuda(exported):
    spec, file = exported
    cuda = open_runtime(file, threads=1, providers=("cuda",))
    feeds = {name: value.numpy() for name, value in spec.example_inputs.items()}
    first = cuda.run(feeds)
    for _ in range(20):
        again = cuda.run(feeds)
        assert all(np.array_equal(first[name], again[name]) for name in first)
    cuda.close()


def test_cuda_is_taken_unasked_where_it_works(exported):
    _, file = exported
    runtime = open_runtime(file, threads=1)
    assert runtime.providers[0] == "cuda"
    runtime.close()
