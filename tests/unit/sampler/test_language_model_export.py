"""Language models leave as ONNX and TorchScript: both give Transformers' own tokens, key by key."""

from __future__ import annotations

import numpy as np
import pytest

from services.common.errors import Reason, ServiceError
from services.common.export import read_export
from services.common.export.exporter import StoreExporter
from services.common.runtimes import open_runtime
from services.common.store import ModelStore
from services.sampler.exporting import graphs_of
from tests.unit.sampler import language_models as tiny


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        *(("llama", "onnx"), ("llama", "torchscript"), ("gpt2", "onnx")),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                *(("llama3", "onnx"), ("llama3", "torchscript"), ("qwen3", "onnx"), ("qwen3", "torchscript")),
                ("gpt2", "torchscript"),
            )
        ),
    ],
)
async def test_an_exported_model_writes_what_transformers_writes(kind, target, tmp_path):
    folder = tiny.write(kind, tmp_path / "hub" / kind)
    store = ModelStore([], tmp_path / "cache", [tmp_path / "hub"])
    version = await store.resolve(f"file:{folder}")
    exporter = StoreExporter(tmp_path / "cache", graphs_of)
    exported = exporter.export(version, folder, target, False, lambda *_: None)
    assert all(figure.max_abs_error <= figure.tolerance for figure in exported.parity)
    (graph,) = read_export(exported.location).graphs.values()
    runtime = open_runtime(exported.location / graph.file, threads=1, providers=("cpu",))
    prompt = np.random.default_rng(4).integers(1, tiny.VOCABULARY, 7).tolist()
    expected = tiny.greedy(tiny.reference(folder), prompt, 12)
    config = tiny.config_of(kind)
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = values = np.zeros((1, config.num_hidden_layers, kv_heads, 1, width), np.float32)
    mask = np.zeros((1, 1), np.int64)
    ids, written = prompt, []
    for _ in range(12):
        past = keys.shape[3]
        out = runtime.run(
            {
                "input_ids": np.array([ids], np.int64),
                "position_ids": np.arange(past - 1, past - 1 + len(ids))[None],
                "past_mask": mask,
                "past_keys": keys,
                "past_values": values,
            }
        )
        keys, values = out["keys"], out["values"]
        mask = np.append(mask, np.ones((1, len(ids)), np.int64), axis=1)
        ids = [int(out["logits"][0, -1].argmax())]
        written += ids
    assert written == expected


async def test_what_cannot_be_loaded_cannot_leave(tmp_path):
    folder = tiny.write("llama", tmp_path / "hub" / "cut")
    (folder / "tokenizer.json").unlink()
    store = ModelStore([], tmp_path / "cache", [tmp_path / "hub"])
    version = await store.resolve(f"file:{folder}")
    with pytest.raises(ServiceError) as refusal:
        graphs_of(version, folder)
    assert refusal.value.reason is Reason.LOAD_FAILED
