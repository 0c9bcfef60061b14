"""The shipped models of images on CUDA, exported both ways: what the CPU says, and never the CPU itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.common.export import Target, read_export
from services.common.export.exporter import StoreExporter
from services.common.runtimes import open_runtime
from services.common.store.preparing import shipped
from services.diffusion.families import unet
from services.diffusion.loading.exporting import graphs_of
from services.diffusion.loading.opening import Opening
from services.diffusion.pipelines.placement import Placement
from services.diffusion.planning import plan
from services.diffusion.request import read_generate
from tests.gpu.test_runtimes_gpu import need_cuda

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
MODELS = Path(__file__).parents[2] / "models"
TOLERANCE = 2e-3
"""Of what the network says, whose numbers are of the order of 1."""


def example(tensor, chance):
    """Numbers that fit an input of a graph; 3 rows, 48 pixels a side where that is free."""
    shape = [{0: 3}.get(axis, 48) if size < 0 else size for axis, size in enumerate(tensor.sizes)]
    if tensor.dtype == "bool":
        return np.ones(shape, bool)
    if tensor.dtype.startswith("int"):
        return np.ones(shape, tensor.dtype)
    return (0.5 * chance.standard_normal(shape)).astype(tensor.dtype)


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", ["peeps-diffusion", "peeps-upscaler"])
async def test_every_graph_says_the_same_on_cuda(name, target, tmp_path):
    need_cuda(Target(target))
    store = shipped(MODELS)
    version = await store.resolve(f"{name}:1")
    exporter = StoreExporter(tmp_path, graphs_of)
    location = exporter.export(version, await store.fetch(version), target, False, lambda *_: None).location
    for graph in read_export(location).graphs.values():
        file = location / graph.file
        cpu, cuda = (open_runtime(file, threads=2, providers=(each,)) for each in ("cpu", "cuda"))
        assert cuda.providers[0] == "cuda"
        chance = np.random.default_rng(0)
        feeds = {tensor.name: example(tensor, chance) for tensor in cpu.inputs}
        expected = cpu.run(feeds)
        for output, value in cuda.run(feeds).items():
            np.testing.assert_allclose(value, expected[output], atol=TOLERANCE)


async def test_an_image_painted_on_cuda_is_near_the_cpus():
    need_cuda(Target.ONNX)
    from pequod.diffusion import v1

    store = shipped(MODELS)
    version = await store.resolve("peeps-diffusion:1")
    folder = await store.fetch(version)
    exported = (
        StoreExporter(MODELS, graphs_of).export(version, folder, "onnx", False, lambda *_: None).location
    )
    request = read_generate(v1.GenerateRequest(prompt="a smiling person, blue background", seed=3))
    pictures = []
    for device in ("cpu", "cuda"):
        model = unet.load(Opening(version, folder, lambda: exported, Placement(device=device), 2))
        painting = plan(request, model, ()).starts[0](())
        while not painting.is_finished:
            painting.answer(model.denoiser.predict(painting.questions()))
        assert painting.result is not None
        pictures.append(model.decode(painting.result).astype(int))
        model.close()
    assert np.abs(pictures[0] - pictures[1]).mean() < 2
