"""Adapters: PEFT's own tokens, several in one batch, the same to the bit in any company; bad ones refused."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from services.common.errors import ServiceError
from services.sampler.sequence import Sequence, Task
from services.sampler.transformer.lora.adapter import CONFIG_FILE, WEIGHTS_FILE, read
from services.sampler.transformer.prefixes import BLOCK
from tests.unit.sampler import adapters as lora
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.engine_runs import greedy, prompt, random_plan, run


@pytest.fixture(scope="module")
def folder_of(directory, tmp_path_factory):
    """Adapters of a family, by number: each changes other layers, with another rank and scale."""
    made: dict[tuple[str, int], tuple[Path, torch.nn.Module]] = {}

    def make(kind: str, number: int):
        if (kind, number) not in made:
            folder = tmp_path_factory.mktemp("adapters") / f"{kind}-{number}"
            layers = lora.ALL[kind]
            targets = [layers, layers[:2], layers[-1:]][number % 3]
            options = [{"r": 4, "lora_alpha": 8}, {"r": 16, "use_rslora": True}, {"r": 1, "lora_alpha": 3}]
            wrapped = lora.write(directory(kind), folder, number, targets, **options[number % 3])
            made[kind, number] = folder, wrapped
        return made[kind, number]

    return make


def load(folder: Path):
    return read(folder.name, folder.name, folder)


@pytest.mark.parametrize("kind", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_greedy_output_is_pefts_own_with_several_adapters_in_a_batch(kind, engine_of, folder_of, directory):
    engine = engine_of(kind, "fp32")
    plans, expected = [], []
    for number, length in enumerate((1, 17, 33, 60, 20)):
        folder, wrapped = folder_of(kind, number % 3)
        plans.append(replace(greedy(length, 24), adapter=load(folder)))
        expected.append(tiny.greedy(wrapped, plans[-1].prompt.tolist(), 24))
    bare = greedy(18, 24)
    expected.append(tiny.greedy(tiny.reference(directory(kind)), bare.prompt.tolist(), 24))
    outputs = run(engine, [*plans, bare])
    assert [output.ids for output in outputs] == expected
    assert outputs[0].ids != outputs[5].ids


def test_8_bit_weights_take_exact_deltas(engine_of, folder_of):
    """The delta is that of 32 bits: in 8 bits as far from PEFT's logits as the model without one is."""
    folder, wrapped = folder_of("llama", 0)
    engine = engine_of("llama")
    engine.runner.open_adapted()
    engine.runner.attach(1, engine.adapters.linears.factors(load(folder)))
    ids = prompt(100)
    with torch.no_grad():
        expected = wrapped(torch.from_numpy(ids)[None]).logits[0].numpy()
    logits = engine.runner.read(0, 0, ids, range(100), 1)
    assert np.abs(logits - expected).mean() < 0.1 * expected.std()


@pytest.mark.parametrize("precision", ["int8", pytest.param("fp32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_the_same_text_alone_and_in_any_company(kind, precision, engine_of, folder_of):
    """Requests with three adapters and without one, at random times, in an engine with two places."""
    chance = random.Random(5)
    choices = [None, *(load(folder_of(kind, number)[0]) for number in range(3))]
    plans = [replace(random_plan(chance), adapter=chance.choice(choices)) for _ in range(24)]
    arrivals = [chance.randrange(40) for _ in plans]
    together = run(engine_of(kind, precision, slots=5, adapters=2, cache_bytes=2**19), plans, arrivals)
    for plan, output in zip(plans, together, strict=True):
        (alone,) = run(engine_of(kind, precision, slots=1), [plan])
        assert (alone.ids, alone.logprob, alone.positions) == (output.ids, output.logprob, output.positions)


def test_a_prefix_is_kept_for_its_own_adapter_only(engine_of, folder_of):
    engine = engine_of("llama")
    adapter = load(folder_of("llama", 0)[0])
    first = greedy(64, 4)
    run(engine, [first])
    assert engine.figures.prefix_hits == 0
    (output,) = run(engine, [replace(first, adapter=adapter)])
    assert engine.figures.prefix_hits == 0
    (again,) = run(engine, [replace(first, adapter=adapter)])
    assert engine.figures.prefix_hits == 64 - BLOCK
    assert again.ids == output.ids


def test_one_that_waits_for_a_place_lets_others_pass_and_comes_next(engine_of, folder_of):
    engine = engine_of("llama", adapters=1)
    ones = [load(folder_of("llama", number)[0]) for number in range(2)]
    plans = [
        replace(greedy(5, 30), adapter=ones[0]),
        replace(greedy(5, 3), adapter=ones[1]),
        greedy(6, 3),
        replace(greedy(5, 3), adapter=ones[0]),
    ]
    ends = _ends(engine, plans)
    assert ends[2] < ends[0] < ends[1] <= ends[3]


def _ends(engine, plans) -> list[int]:
    """The step at which each plan ends; all arrive at once."""
    sequences = [Sequence(plan, 0, engine.alphabet) for plan in plans]
    ends: dict[int, int] = {}
    for step in range(500):
        running = [k for k in range(len(plans)) if k not in ends]
        if not running:
            break
        outputs = engine.step([sequences[k] for k in running])
        for k, output in zip(running, outputs, strict=True):
            assert output.error is None, output.error
            if output.finish is not None:
                engine.release(sequences[k])
                ends[k] = step
    return [ends[k] for k in range(len(plans))]


def test_scores_and_tables_are_the_adapters_own(engine_of, folder_of, directory):
    folder, wrapped = folder_of("llama", 0)
    plan = replace(greedy(40), task=Task.SCORE, adapter=load(folder))
    (output,) = run(engine_of("llama", "fp32"), [plan])
    ids = torch.from_numpy(plan.prompt)[None]
    with torch.no_grad():
        table = wrapped(ids).logits[0].log_softmax(-1)
    expected = float(table[:-1].gather(1, ids[0, 1:, None]).sum())
    assert output.logprob == pytest.approx(expected, abs=1e-2)


@pytest.fixture
def copied(folder_of, tmp_path):
    """A copy of an adapter to damage."""
    folder = tmp_path / "copy"
    shutil.copytree(folder_of("llama", 0)[0], folder)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3' is not served"),
        ({"use_dora": True}, "use_dora is not served"),
        ({"bias": "all"}, "bias is not served"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save is not served"),
        ({"lora_alpha": "many"}, "lora_alpha must be a number"),
    ],
)
def test_what_is_not_served_is_named(change, words, copied):
    file = copied / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        load(copied)


def _damage(folder: Path, change) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


def test_damaged_weights_are_named(copied):
    whole = (copied / WEIGHTS_FILE).read_bytes()
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
    _damage(copied, lambda tensors: tensors.pop(name))
    with pytest.raises(ValueError, match=r"only one of the two factors of .*layers\.1\.mlp\.up_proj"):
        load(copied)
    _damage(copied, lambda tensors: tensors.update({name: torch.full((4, 64), float("nan"))}))
    with pytest.raises(ValueError, match="not finite"):
        load(copied)
    _damage(copied, lambda tensors: tensors.update({name: torch.zeros(3, 64)}))
    with pytest.raises(ValueError, match="do not fit together"):
        load(copied)
    _damage(copied, lambda tensors: tensors.update({"other": torch.zeros(3)}))
    with pytest.raises(ValueError, match="other is no factor"):
        load(copied)
    (copied / WEIGHTS_FILE).write_bytes(whole[:-50])
    with pytest.raises(ValueError, match="damaged or cut short"):
        load(copied)
    (copied / WEIGHTS_FILE).unlink()
    with pytest.raises(ValueError, match=f"holds no {WEIGHTS_FILE}"):
        load(copied)


def test_one_for_another_model_is_refused_by_layer(engine_of, folder_of, copied):
    admit = engine_of("llama").traits.adapters.admit
    with pytest.raises(ServiceError, match=r"changes h\.0\.attn\.c_attn, which the model does not have"):
        admit(load(folder_of("gpt2", 0)[0]))
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
    _damage(copied, lambda tensors: tensors.update({name: torch.zeros(4, 32)}))
    with pytest.raises(ServiceError, match="up_proj of 32 -> 128, and the model's is 64 -> 128"):
        admit(load(copied))


def test_a_rank_beyond_the_setting_is_refused(engine_of, directory, tmp_path):
    lora.write(directory("llama"), tmp_path, 1, ["q_proj"], r=32)
    with pytest.raises(ServiceError, match="rank 32; ranks up to 16 are served"):
        engine_of("llama").traits.adapters.admit(load(tmp_path))


def test_numbers_in_16_bits_and_patterns_of_alpha(engine_of, directory, tmp_path):
    """bfloat16, which numpy lacks, and alphas by layer."""
    wrapped = lora.write(
        directory("llama"), tmp_path, 2, ["q_proj", "up_proj"], lora_alpha=4, alpha_pattern={"up_proj": 9}
    )
    _damage(tmp_path, lambda tensors: tensors.update({n: t.bfloat16() for n, t in tensors.items()}))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(parameter.bfloat16().float())
    plan = replace(greedy(20, 16), adapter=load(tmp_path))
    (output,) = run(engine_of("llama", "fp32"), [plan])
    assert output.ids == tiny.greedy(wrapped, plan.prompt.tolist(), 16)
