"""Language models on CUDA: Transformers' own tokens, with and without graphs; exports that run there too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from services.common.export import Target, read_export
from services.common.export.exporter import StoreExporter
from services.common.runtimes import open_runtime
from services.common.store import ModelStore
from services.sampler.exporting import graphs_of
from services.sampler.transformer.opening import device_of
from services.sampler.transformer.torch import opening
from services.sampler.transformer.torch.graphs import batch_sizes
from tests.gpu.test_runtimes_gpu import need_cuda
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.engine_runs import greedy, prompt, run
from tests.unit.sampler.torch_engines import torch_engine

pytestmark = pytest.mark.gpu

LENGTHS = (1, 2, 15, 16, 17, 33, 100)


@pytest.fixture
def engine_of(tmp_path, monkeypatch):
    """A new engine of a tiny model on CUDA, and the model's directory."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")

    def make(kind: str, **options):
        folder = tmp_path / kind
        if not folder.exists():
            tiny.write(kind, folder)
        return torch_engine(folder, monkeypatch, device="cuda", **options), folder

    return make


@pytest.mark.parametrize("kind", ["llama", "llama3", "qwen3", "gpt2", "gpt_neox", "gemma2", "gpt_oss"])
def test_greedy_output_is_transformers_own_in_32_bits(kind, engine_of):
    """With fewer slots than texts, too little memory for all, and beginnings that they share."""
    engine, folder = engine_of(kind, slots=5, cache_bytes=1)
    plans = [greedy(length) for length in (*LENGTHS, 100)]
    outputs = run(engine, plans, [0, 0, 0, 1, 5, 5, 9, 30])
    assert engine.figures.preemptions > 0
    assert engine.figures.prefix_hits > 0
    model = tiny.reference(folder).cuda()
    model.generation_config.eos_token_id = None
    for plan, output in zip(plans, outputs, strict=True):
        ids = torch.from_numpy(plan.prompt)[None].cuda()
        out = model.generate(ids, max_new_tokens=40, do_sample=False, pad_token_id=0)
        assert output.ids == out[0, ids.shape[1] :].tolist(), f"prompt of {plan.prompt.size}"


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
def test_16_bits_stay_as_near_to_32_as_transformers_own_do(kind, engine_of):
    """Logits of a read prompt and of tokens written after it."""
    engine, folder = engine_of(kind, precision="auto")
    ids, runner = prompt(100), engine.runner
    found = [runner.read(0, 0, ids[:90], range(90)).copy()]
    found += [runner.write(ids[at : at + 1], [at]).copy() for at in range(90, 100)]
    model = tiny.reference(folder).cuda()
    with torch.no_grad():
        rows = torch.from_numpy(ids)[None].cuda()
        exact = model(rows).logits[0].float().cpu().numpy()
        theirs = model.bfloat16()(rows).logits[0].float().cpu().numpy()
    ours = np.abs(np.concatenate(found) - exact).mean()
    assert ours < 1.5 * np.abs(theirs - exact).mean() + 0.01 * exact.std()


@pytest.mark.parametrize("kind", ["llama", "gpt_neox"])
def test_graphs_change_nothing(kind, engine_of, monkeypatch):
    plans = [greedy(length) for length in LENGTHS]
    engine, _ = engine_of(kind, precision="bf16")
    steps = engine.runner._steps
    assert steps._record is not None, "the model's steps could not be recorded"
    assert len(steps._runs) >= len(batch_sizes(8))
    with_graphs = [output.ids for output in run(engine, plans)]
    monkeypatch.setattr(opening, "Room", partial(opening.Room, graphs=False))
    without, _ = engine_of(kind, precision="bf16")
    assert without.runner._steps._record is None
    assert [output.ids for output in run(without, plans)] == with_graphs


def test_a_known_prefix_is_not_read_again_and_changes_nothing(engine_of):
    shared = prompt(200)
    plans = [
        replace(greedy(1), prompt=np.concatenate((shared, prompt(length, seed=9)))) for length in (3, 20, 1)
    ]
    (engine, _), (cold, _) = engine_of("llama"), engine_of("llama", prefix_bytes=0)
    expected = [output.ids for output in run(cold, plans)]
    for _ in range(2):
        assert [output.ids for output in run(engine, plans)] == expected
    assert engine.figures.prefix_hits > 0


def test_cuda_is_taken_unasked_where_it_works():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    assert (device_of("auto"), device_of("cuda"), device_of("cpu")) == ("cuda", "cuda", "cpu")


@pytest.mark.parametrize("target", ["onnx", "torchscript"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
async def test_an_exported_model_gives_the_cpus_logits_on_cuda(kind, target, tmp_path):
    need_cuda(Target(target))
    folder = tiny.write(kind, tmp_path / "hub" / kind)
    version = await ModelStore([], tmp_path / "cache", [tmp_path / "hub"]).resolve(f"file:{folder}")
    exporter = StoreExporter(tmp_path / "cache", graphs_of)
    location = exporter.export(version, folder, target, False, lambda *_: None).location
    file = location / next(iter(read_export(location).graphs.values())).file
    spec = graphs_of(version, folder)["model"]
    feeds = {name: value.numpy() for name, value in spec.example_inputs.items()}
    cpu, cuda = (open_runtime(file, threads=1, providers=(name,)) for name in ("cpu", "cuda"))
    assert cuda.providers[0] == "cuda"
    expected, results = cpu.run(feeds), cuda.run(feeds)
    for name, value in results.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-3)
