"""Models that only Transformers has code for: its own tokens from this engine, or a refusal that says why."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BloomConfig,
    FalconConfig,
    Llama4TextConfig,
    MambaConfig,
    T5Config,
)

from pequod.sampler import v1
from services.common.errors import Reason, ServiceError
from services.common.store import ModelStore
from services.sampler.exporting import graphs_of
from services.sampler.sequence import Plan, Task
from services.sampler.settings import SamplerSettings
from services.sampler.transformer.torch.foreign import loading as foreign
from services.sampler.transformer.torch.foreign.model import ForeignModel
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.engine_runs import greedy, prompt, run
from tests.unit.sampler.service import sampler_service
from tests.unit.sampler.torch_engines import torch_engine
from tests.unit.serving import refused

LENGTHS = (1, 2, 15, 16, 17, 33, 60, 100)


@pytest.fixture
def engine_of(directory, monkeypatch):
    """A new engine of a tiny model."""
    return lambda kind, **options: torch_engine(directory(kind), monkeypatch, **options)


@pytest.mark.parametrize("kind", sorted(tiny.FOREIGN))
def test_greedy_output_is_transformers_own_in_company(kind, directory, engine_of):
    """Rotations of a part, windows that slide, capped scores, sinks, experts, stretched angles."""
    plans = [greedy(length) for length in LENGTHS]
    outputs = run(engine_of(kind), plans)
    model = tiny.reference(directory(kind))
    for plan, output in zip(plans, outputs, strict=True):
        assert output.ids == tiny.greedy(model, plan.prompt.tolist(), 40), f"prompt of {plan.prompt.size}"


def test_scores_are_those_of_the_forward_pass(directory, engine_of):
    ids = prompt(100)
    with torch.no_grad():
        logits = tiny.reference(directory("gemma2"))(torch.from_numpy(ids)[None]).logits[0].double()
    expected = logits.log_softmax(-1)[range(99), ids[1:]].numpy()
    (output,) = run(engine_of("gemma2"), [Plan(Task.SCORE, ids, prompt_logprobs=True)])
    logprobs = [position.logprob for position in output.prompt_positions]
    np.testing.assert_allclose(logprobs[1:], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt_neox", "gemma2", "gpt_oss"])
def test_a_look_inside_is_what_transformers_shows(kind, directory, engine_of):
    ids, chosen = prompt(40), np.array([3, 39])
    model = AutoModelForCausalLM.from_pretrained(directory(kind), attn_implementation="eager").eval()
    with torch.no_grad():
        seen = model(torch.from_numpy(ids)[None], output_hidden_states=True, output_attentions=True)
    inside = engine_of(kind).inspect(ids, chosen, 5)
    states = torch.stack(seen.hidden_states)[:-1, 0]  # the last one is normed
    np.testing.assert_allclose(inside.embeddings, states[0], atol=1e-4)
    np.testing.assert_allclose(inside.norms[:-1], states.norm(dim=-1), rtol=1e-3)
    expected = torch.stack([weights[0][:, chosen, :40] for weights in seen.attentions])
    np.testing.assert_allclose(inside.attention, expected, atol=1e-4)
    best = seen.logits[0, -1].topk(5).indices.tolist()
    assert [alternative.symbol for alternative in inside.readouts[-1]] == best


def _write(config, folder):
    """A directory of a model that is none of ours."""
    folder.mkdir()
    tiny.write("llama", folder)
    auto = AutoModelForSeq2SeqLM if isinstance(config, T5Config) else AutoModelForCausalLM
    auto.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=2), "attention interface"),
        (
            FalconConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2),
            "attention interface",
        ),
        (MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2), "linear_attention"),
        (
            T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=2),
            "it has an encoder",
        ),
        (
            Llama4TextConfig(
                vocab_size=400,
                hidden_size=32,
                intermediate_size=32,
                intermediate_size_mlp=32,
                num_hidden_layers=4,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=16,
                num_local_experts=2,
                bos_token_id=0,
                eos_token_id=0,
            ),
            "'chunked_attention'",
        ),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_what_a_cache_cannot_follow_is_refused_by_name(config, part, tmp_path, monkeypatch):
    folder = _write(config, tmp_path / "model")
    with pytest.raises(ValueError, match=part) as refusal:
        torch_engine(folder, monkeypatch)
    assert repr(config.model_type) in str(refusal.value)


def _quantised(folder):
    _change(folder, quantization_config={"quant_method": "gptq", "bits": 4})


def _lacking(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _misshapen(folder):
    _change(folder, intermediate_size=96)


def _cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _code_of_its_own(folder):
    _change(folder, model_type="hyena", auto_map={"AutoModelForCausalLM": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('code of a model was run')")


def _change(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


@pytest.mark.parametrize(
    ("harm", "part"),
    [
        (_quantised, "quantised"),
        (_lacking, "lack gpt_neox.layers.1.mlp.dense_h_to_4h.weight"),
        (_misshapen, "dense_"),
        (_cut_short, "cannot read"),
        (_code_of_its_own, "'hyena'"),
    ],
)
def test_damaged_directories_are_refused_by_name(harm, part, tmp_path, monkeypatch):
    folder = tiny.write("gpt_neox", tmp_path / "model")
    harm(folder)
    with pytest.raises(ValueError, match=part):
        torch_engine(folder, monkeypatch)


def test_8_bits_are_refused_where_there_are_none(directory, monkeypatch):
    with pytest.raises(ValueError, match="int8 is set"):
        torch_engine(directory("gpt_neox"), monkeypatch, precision="int8")


def test_a_model_that_remembers_more_than_its_cache_is_found_out(engine_of, monkeypatch):
    """Whatever its configuration says: logits are compared with those of Transformers' own attention."""
    honest = ForeignModel.plain_logits
    monkeypatch.setattr(ForeignModel, "plain_logits", lambda self, ids: honest(self, ids.flip(0)))
    with pytest.raises(ValueError, match="logits are not its own"):
        engine_of("gpt_neox")


def test_a_mask_of_its_own_and_unknown_arguments_are_refused(directory):
    from services.sampler.transformer.model.directory import describe
    from services.sampler.transformer.torch.foreign.model import _current, _Pass, attention

    folder = directory("gpt_neox")
    model, length = foreign.load(folder, describe(folder), torch.float32, torch.device("cpu"))
    assert (length, model.vocabulary) == (tiny.WINDOW, tiny.VOCABULARY)
    layer = model._model.gpt_neox.layers[0].attention
    row = torch.zeros(1, 4, 1, 16)
    _current.run = _Pass(lambda *_: row)
    with pytest.raises(ValueError, match="'gpt_neox' cannot be run: its attention takes a mask"):
        attention(layer, row, row, row, torch.zeros(1))
    with pytest.raises(ValueError, match="its attention takes position_bias"):
        attention(layer, row, row, row, position_bias=torch.zeros(1))
    del _current.run


async def test_it_cannot_leave(directory, tmp_path):
    folder = directory("gpt_neox")
    version = await ModelStore([], tmp_path / "cache", [folder.parent]).resolve(f"file:{folder}")
    with pytest.raises(ServiceError, match="not exported") as refusal:
        graphs_of(version, folder)
    assert refusal.value.reason is Reason.UNSUPPORTED


@pytest.fixture
async def sampler(directory, tmp_path):
    """A stub on a running service whose default model is GPT-NeoX's."""
    folder = directory("gpt_neox")
    settings = SamplerSettings(default_model=f"file:{folder}", preload=(), slots=4, device="cpu")
    async with sampler_service(tmp_path, tmp_path / "cache", settings, folder.parent) as (channel, _):
        yield v1.SamplerServiceStub(channel)


async def test_through_the_service(sampler, directory):
    ids = prompt(20).tolist()
    request = {"prompt_ids": {"ids": ids}, "sampling": v1.Sampling(temperature=0.0)}
    stopping = v1.Stopping(max_tokens=12, ignore_eos=True)
    reply = await sampler.Generate(v1.GenerateRequest(**request, stopping=stopping))
    expected = tiny.greedy(tiny.reference(directory("gpt_neox")), ids, 12)
    assert list(reply.completions[0].ids) == expected
    table = await sampler.NextTokens(v1.NextTokensRequest(prompt_ids={"ids": ids}, limit=3))
    assert table.tokens[0].id == expected[0]
    scored = await sampler.Score(v1.ScoreRequest(text="Call me Ishmael.", per_token=True))
    assert scored.scored_tokens == len(scored.tokens) - 1
    seen = await sampler.Inspect(v1.InspectRequest(prompt_ids={"ids": ids}, attention=True, top=3))
    assert [token.id for token in seen.next] == [token.id for token in table.tokens]
    assert [len(layer.heads) for layer in seen.layers] == [0, 4, 4]


async def test_refusals_reach_the_caller(sampler, directory):
    folder = directory("gpt_neox").parent / "bloom"
    if not folder.exists():
        _write(BloomConfig(vocab_size=400, hidden_size=32, n_layer=2, n_head=2), folder)
    code, message, _ = await refused(
        sampler.Generate(v1.GenerateRequest(model=f"file:{folder}", prompt="Call me"))
    )
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "the architecture 'bloom' cannot be run" in message
