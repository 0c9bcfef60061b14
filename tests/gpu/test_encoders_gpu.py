"""Encoders on CUDA, exported both ways: the CPU's vectors, and never the CPU where CUDA was demanded."""

import numpy as np
import pytest

from services.common.export import Target, read_export
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.runtimes import open_runtime
from services.common.store import ModelStore
from services.tokenizer import families
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.engine import EmbedOptions, Input, Precision
from tests.gpu.test_runtimes_gpu import need_cuda
from tests.unit.tokenizer.encoder_models import directory, sentence_transformer

pytestmark = pytest.mark.gpu

TEXTS = ["the whale", "the captain saw nothing but the sea", "a storm rose over the masts"]


@pytest.fixture
async def encoder(request, tmp_path):
    """A tiny encoder's store, its version, its folder."""
    folder = sentence_transformer(directory(tmp_path / "tiny", request.param))
    store = ModelStore([], tmp_path / "cache", [tmp_path])
    return store, await store.resolve(f"file:{folder}"), folder


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
@pytest.mark.parametrize("encoder", ["bert", "modernbert"], indirect=True)
async def test_an_exported_encoder_gives_the_same_vectors_on_cuda(encoder, target, tmp_path):
    need_cuda(Target(target))
    _, version, folder = encoder
    exporter = StoreExporter(tmp_path / "cache", family_graphs(families))
    location = exporter.export(version, folder, target, False, lambda *_: None).location
    file = location / next(iter(read_export(location).graphs.values())).file
    ids = np.arange(4 * 16).reshape(4, 16) % 100
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    cpu, cuda = (open_runtime(file, threads=1, providers=(name,)) for name in ("cpu", "cuda"))
    assert cuda.providers[0] == "cuda"
    expected, results = cpu.run(feeds), cuda.run(feeds)
    for name, value in results.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-4)


@pytest.mark.parametrize("encoder", ["bert"], indirect=True)
async def test_an_encoder_demanded_on_cuda_computes_there_in_32_bits(encoder, tmp_path):
    need_cuda(Target.ONNX)
    store, version, folder = encoder
    exporter = StoreExporter(tmp_path / "cache", family_graphs(families))
    inputs = [Input(f"inputs[{i}]", text) for i, text in enumerate(TEXTS)]
    made = {}
    for device in ("cpu", "cuda"):
        model = EncoderOpener(store, exporter, Device(device, 1)).open(version, folder)
        made[device] = np.array(model.run(model.prepare(inputs, EmbedOptions()), Precision.FP32))
        assert (Precision.INT8 in model.precisions) == (device == "cpu")
    np.testing.assert_allclose(made["cuda"], made["cpu"], atol=1e-4)
