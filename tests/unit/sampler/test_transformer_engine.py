"""Transformers' own tokens from the engine, the same alone and in any company, however prompts are cut."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from services.sampler.engine import Finish, Output
from services.sampler.sampling import Sampling
from services.sampler.sequence import Plan, Sequence, Stopping, Task
from services.sampler.transformer.prefixes import Prefixes, names_of
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.engine_runs import greedy, prompt, random_plan, run

KINDS = (
    *("llama", "gpt2"),
    *(pytest.param(each, marks=pytest.mark.slow) for each in ("llama3", "mistral", "qwen2", "qwen3")),
)
"""The slow ones differ from llama as the PyTorch runner's tests show them to, in less time."""
LENGTHS = (1, 2, 15, 16, 17, 31, 32, 33, 60, 100)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_output_is_transformers_own_in_company(kind, directory, engine_of):
    plans = [greedy(length) for length in LENGTHS]
    outputs = run(engine_of(kind, "fp32"), plans)
    model = tiny.reference(directory(kind))
    for plan, output in zip(plans, outputs, strict=True):
        assert output.ids == tiny.greedy(model, plan.prompt.tolist(), 40), f"prompt of {plan.prompt.size}"
        assert output.finish is Finish.LENGTH


@pytest.mark.parametrize("kind", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_int8_stays_near_fp32(kind, directory, engine_of):
    """Products in 8 bits move logits by less than a tenth of their spread."""
    reference = tiny.reference(directory(kind))
    ids = prompt(100)
    import torch

    with torch.no_grad():
        expected = reference(torch.from_numpy(ids)[None]).logits[0].numpy()
    runner = engine_of(kind).runner
    logits = runner.read(0, 0, ids, range(100))
    assert np.abs(logits - expected).mean() < 0.1 * expected.std()


@pytest.mark.parametrize(
    ("kind", "precision"),
    [
        *(("llama", "int8"), ("llama", "fp32"), ("gpt2", "fp32")),
        pytest.param("gpt2", "int8", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("trace", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_alone_and_under_any_arrivals(kind, precision, trace, engine_of):
    """Golden: text, ids and every log probability to the bit, with few slots and little memory."""
    chance = random.Random(trace)
    plans = [random_plan(chance) for _ in range(16)]
    arrivals = [chance.randint(0, 40) for _ in plans]
    alone_engine = engine_of(kind, precision)
    alone = [run(alone_engine, [plan])[0] for plan in plans]
    position = alone_engine.runner.bytes_per_position
    crowded = engine_of(kind, precision, slots=5, cache_bytes=260 * position)
    together = run(crowded, plans, arrivals)
    assert together == alone
    assert crowded.figures.preemptions > 0
    assert crowded.figures.used_ratio == 0.0


def test_a_known_prefix_is_not_read_again_and_changes_nothing(engine_of):
    shared = prompt(200)
    plans = [
        replace(greedy(1), prompt=np.concatenate((shared, prompt(length, seed=9)))) for length in (3, 20, 1)
    ]
    engine = engine_of("llama")
    cold = engine_of("llama", prefix_bytes=0)
    assert run(engine, plans) == run(cold, plans)
    before = engine.figures.prefix_hits
    assert run(engine, plans[1:]) == run(cold, plans[1:])
    assert engine.figures.prefix_hits - before == 208 + 192
    assert cold.figures.prefix_hits == 0


def test_the_least_recently_used_prefix_makes_room():
    prefixes = Prefixes(bytes_limit=3 * 64)
    block = np.zeros(16, np.float32)
    first, second = names_of(prompt(32 + 5, 1)), names_of(prompt(32, 2))
    assert (len(first), len(second)) == (2, 2)
    for name in (*first, second[0]):
        prefixes.keep(name, block)
    assert len(prefixes.find(first)) == 2
    prefixes.keep(second[1], block)
    assert (len(prefixes.find(first)), len(prefixes.find(second))) == (2, 0)
    assert len(prefixes.find(names_of(prompt(32, 1), adapter="other"))) == 0


def test_a_prompt_that_is_left_half_read_is_kept_so_far(engine_of):
    """Whoever begins with the same text is read from there on."""
    engine = engine_of("llama")
    engine.clock = lambda: 0.0  # a piece of a block a step
    plan = Plan(Task.GENERATE, prompt(200, 1), stopping=Stopping(4))
    leaving = Sequence(plan, 0, engine.alphabet)
    while engine.step([leaving])[0].is_empty and not len(engine.prefixes):
        pass
    engine.release(leaving)
    kept = len(engine.prefixes)
    assert 0 < kept <= 12
    before = engine.figures.prefix_hits
    whole = run(engine, [plan])
    assert engine.figures.prefix_hits - before == kept * 16
    assert whole == run(engine_of("llama", prefix_bytes=0), [plan])


def test_a_window_that_is_full_slides(engine_of):
    """Past the window the older half is forgotten; the rest is read again from position 0."""
    engine = engine_of("llama")
    plan = greedy(200, count=300)
    (output,) = run(engine, [plan])
    assert len(output.ids) == 300
    whole = [*plan.prompt.tolist(), *output.ids]
    kept = np.array(whole[257 - 128 : 257])
    (again,) = run(engine, [Plan(Task.GENERATE, kept, sampling=Sampling(0.0), stopping=Stopping(20))])
    assert again.ids == whole[257 : 257 + 20]


def test_scores_are_those_of_the_forward_pass(directory, engine_of):
    import torch

    ids = prompt(100)
    with torch.no_grad():
        logits = tiny.reference(directory("llama"))(torch.from_numpy(ids)[None]).logits[0].double()
    expected = logits.log_softmax(-1)[range(99), ids[1:]].numpy()
    plan = Plan(Task.SCORE, ids, prompt_logprobs=True, top=2)
    (output,) = run(engine_of("llama", "fp32"), [plan])
    assert (output.scored, output.finish) == (99, Finish.DONE)
    assert output.logprob == pytest.approx(expected.sum(), abs=1e-3)
    logprobs = [position.logprob for position in output.prompt_positions]
    assert logprobs[0] == 0.0
    np.testing.assert_allclose(logprobs[1:], expected, atol=1e-4)
    best = logits[:-1].topk(2).indices.tolist()
    assert [[other.symbol for other in each.top] for each in output.prompt_positions[1:]] == best


def test_the_table_is_the_softmax_at_the_temperature(directory, engine_of):
    import torch

    ids = prompt(37)
    with torch.no_grad():
        logits = tiny.reference(directory("llama"))(torch.from_numpy(ids)[None]).logits[0, -1].double()
    plan = Plan(Task.TABLE, ids, sampling=Sampling(0.5), rows=5)
    (output,) = run(engine_of("llama", "fp32"), [plan])
    expected = (logits / 0.5).softmax(-1).topk(5)
    assert [row.symbol for row in output.table.rows] == expected.indices.tolist()
    np.testing.assert_allclose([r.probability for r in output.table.rows], expected.values, atol=1e-4)
    assert output.table.rows[0].logprob == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)


def test_no_token_ends_a_text_too_early(engine_of):
    engine = engine_of("llama")
    free = greedy(10)
    (output,) = run(engine, [free])
    end = output.ids[5]
    first = output.ids.index(end)
    stopping = Stopping(40, eos=frozenset({end}))
    (stopped,) = run(engine, [replace(free, stopping=stopping)])
    assert (stopped.ids, stopped.finish, stopped.stop_matched) == (output.ids[:first], Finish.STOP, "")
    (later,) = run(engine, [replace(free, stopping=replace(stopping, min_tokens=20))])
    assert end not in later.ids[:20]
    assert len(later.ids) >= 20


def test_a_sequence_that_fails_disturbs_no_other(engine_of, monkeypatch):
    engine = engine_of("llama")
    plans = [greedy(5), greedy(6), greedy(7)]
    alone = run(engine, plans)
    victim = Sequence(greedy(9), 0, engine.alphabet)
    monkeypatch.setattr(victim, "accept", lambda *_: 1 / 0)
    others = [Sequence(plan, 0, engine.alphabet) for plan in plans]
    whole = [Output() for _ in plans]
    first = engine.step([victim, *others])
    assert isinstance(first[0].error, ZeroDivisionError)
    engine.release(victim)
    for output, given in zip(whole, first[1:], strict=True):
        output.add(given)
    while any(output.finish is None for output in whole):
        for output, given in zip(whole, engine.step(others), strict=True):
            output.add(given)
    assert [output.ids for output in whole] == [output.ids for output in alone]


def test_a_runner_holds_its_logits_once(engine_of):
    """However many sizes of steps there were: for a large vocabulary each would be megabytes."""
    runner = engine_of("llama", slots=4).runner
    first = runner.read(0, 0, prompt(16), [15])
    for slot in range(4):
        for length in (16, 32, 48):
            assert np.shares_memory(first, runner.read(slot, 0, prompt(length), [length - 1]))
    for count in (1, 2, 3, 4):
        assert np.shares_memory(first, runner.write(prompt(count), [16] * count))
    assert runner.read(0, 0, prompt(64), range(64)).shape == (64, tiny.VOCABULARY)
