"""GANs on CUDA, exported both ways: what the CPU says, and never the CPU itself."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from safetensors.torch import save_file

from services.common.export import Target, read_export
from services.common.export.exporter import StoreExporter
from services.common.runtimes import open_runtime
from services.common.store import Kind, Manifest, ModelVersion, describe_files
from services.gan.families import dcgan, stylegan
from services.gan.loading.exporting import graphs_of
from services.gan.loading.loader import GanLoader, opener
from services.gan.planning import Setting, seeded
from services.gan.requests import usual
from tests.gpu.test_runtimes_gpu import need_cuda
from tests.unit.gan.gan_models import SCORES, WORDS, networks

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
CONFIGS = {
    "stylegan": stylegan.Config.of(64, len(WORDS), finest=32, most=128),
    "dcgan": dcgan.Config(),
}
TOLERANCE = 2e-3
"""Of pictures from -1 to 1, and of logits."""


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def version(request, tmp_path_factory):
    family, config = request.param, CONFIGS[request.param]
    folder = tmp_path_factory.mktemp(family)
    for name, network in zip(("generator", "discriminator"), networks(family, config), strict=True):
        halves = {key: each.half().contiguous() for key, each in network.state_dict().items()}
        save_file(halves, folder / f"{name}.safetensors")
    described = {
        family: json.loads(json.dumps(asdict(config))),
        "attributes": [list(each) for each in WORDS] if config.attributes else [],
        "scores": SCORES,
    }
    manifest = Manifest(
        name=family, version="1", kind=Kind.GAN, family=family, config=described, files=describe_files(folder)
    )
    return ModelVersion(manifest, "test"), folder


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
def test_every_graph_says_the_same_on_cuda(version, target, tmp_path):
    need_cuda(Target(target))
    exporter = StoreExporter(tmp_path, graphs_of)
    location = exporter.export(*version, target, False, lambda *_: None).location
    for graph in read_export(location).graphs.values():
        file = location / graph.file
        cpu, cuda = (open_runtime(file, threads=2, providers=(each,)) for each in ("cpu", "cuda"))
        assert cuda.providers[0] == "cuda"
        chance = np.random.default_rng(0)
        feeds = {
            tensor.name: chance.standard_normal((5, *tensor.shape[1:])).astype(np.float32)
            for tensor in cpu.inputs
        }
        expected = cpu.run(feeds)
        for output, value in cuda.run(feeds).items():
            np.testing.assert_allclose(value, expected[output], atol=TOLERANCE, rtol=TOLERANCE)
        cpu.close()
        cuda.close()


def test_images_drawn_on_cuda_are_near_the_cpus_alone_and_among_others(version, tmp_path):
    need_cuda(Target.ONNX)
    exporter = StoreExporter(tmp_path, graphs_of)
    drawn = {}
    for device in ("cpu", "cuda"):
        loader = GanLoader(exporter, opener(device, 2), 8)
        model = loader.load(*version)
        loader.warm_up(model)
        setting = Setting.of(model.traits, usual())
        drafts = [setting.single(seeded(seed)) for seed in range(11)]
        drawn[device] = [each.picture for each in model.draw(drafts)]
        for draft, picture in zip(drafts, drawn[device], strict=True):
            alone = model.draw([draft])[0].picture
            assert np.abs(alone.astype(int) - picture).max() <= (1 if device == "cuda" else 0)
        loader.close(model)
    both = np.array(drawn["cpu"]).astype(int), np.array(drawn["cuda"]).astype(int)
    assert np.abs(both[0] - both[1]).mean() < 1
