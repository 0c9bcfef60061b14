"""The PyTorch runner gives Transformers' own tokens, alone as in company, from pages that nobody shares."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from services.common import cuda_graphs
from services.common.errors import Reason, ServiceError
from services.common.settings import SettingsError
from services.sampler.sampling import Sampling
from services.sampler.sequence import Plan, Stopping, Task
from services.sampler.transformer.opening import device_of
from services.sampler.transformer.torch import graphs, opening
from services.sampler.transformer.torch.attention import How, Span, Together, gathered, one_by_one, see
from services.sampler.transformer.torch.cache import LayerShape, PagedCache
from services.sampler.transformer.torch.graphs import BatchSteps, batch_sizes
from services.sampler.transformer.torch.pages import PAGE, SPARE, PageTable, pages_for
from services.sampler.transformer.torch.runner import ExactSteps
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.engine_runs import greedy, prompt, random_plan, run
from tests.unit.sampler.torch_engines import torch_engine

LENGTHS = (1, 2, 15, 16, 17, 33, 100)


@pytest.fixture
def engine_of(directory, monkeypatch):
    """A new engine of a tiny model."""
    return lambda kind, **options: torch_engine(directory(kind), monkeypatch, **options)


@pytest.fixture
def in_batches(monkeypatch):
    """Steps go through batches as on a GPU; recording runs a step as graphs do, and counts."""
    recorded: list[cuda_graphs.Run] = []

    def record(step: cuda_graphs.Run) -> graphs.Run:
        recorded.append(step)
        step()
        return step

    monkeypatch.setattr(opening, "make_runner", partial(opening.make_runner, attention=gathered))
    monkeypatch.setattr(opening, "BatchSteps", lambda *given: BatchSteps(*given[:4], record))
    return recorded


@given(st.lists(st.tuples(st.sampled_from("hmsf"), st.integers(0, 3), st.integers(0, 100)), max_size=60))
def test_no_two_slots_share_a_page_and_none_is_lost(moves):
    table = PageTable(slots=4, length=100, pages=20)
    held = [0] * 4
    for move, slot, number in moves:
        other = number % 4
        needed = -(-number // PAGE) - -(-held[slot] // PAGE)
        if move == "h" and needed > table.free:
            with pytest.raises(RuntimeError, match="the cache is full"):
                table.hold(slot, number)
        elif move == "h":
            table.hold(slot, number)
            held[slot] = number
        elif move == "f":
            table.hold(slot, 0)
            held[slot] = 0
        elif move == "s":
            table.swap(slot, other)
            held[slot], held[other] = held[other], held[slot]
        elif slot != other:
            table.move(slot, other)
            held[slot], held[other] = 0, held[slot]
        owned = Counter(table.rows[table.rows != SPARE].tolist())
        assert all(count == 1 for count in owned.values())
        assert len(owned) + table.free == 20
        for k in range(4):
            assert np.count_nonzero(table.rows[k]) == -(-held[k] // PAGE)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=8), st.integers(0, 64))
def test_pages_are_enough_however_positions_are_spread(lengths, ahead):
    pages = pages_for(max(sum(lengths) - ahead, 0), len(lengths), 200, ahead)
    table = PageTable(len(lengths), 200, pages)
    for slot, length in enumerate(lengths):
        table.hold(slot, length)


def test_what_is_saved_comes_back_elsewhere():
    cache = PagedCache([LayerShape(2, 4, 6), LayerShape(1, 8, 8)], 6, torch.bfloat16, torch.device("cpu"))
    places = np.arange(20, 52)
    for layer in range(2):
        keys, values = (
            torch.randn(32, *part.shape[2:], dtype=torch.bfloat16)
            for part in (cache.keys[layer], cache.values[layer])
        )
        cache.put(layer, torch.from_numpy(places), keys, values)
    block = cache.save(places)
    assert block.shape == (32, 2 * (2 * 10 + 16))
    cache.restore(places + 40, block)
    assert np.array_equal(cache.save(places + 40), block)


@pytest.mark.parametrize(
    "how",
    [How(), How(0.3), How(window=5), How(cap=2.0), How(window=20, sinks=torch.tensor([0.5, -1.0, 2, 0]))],
)
def test_both_ways_to_attend_are_attention(how):
    """Sequence by sequence and all together, in any pages, against the formula row by row."""
    torch.manual_seed(0)
    length, shape = 37, LayerShape(2, 8, 8)
    q, k, v = (torch.randn(length, heads, 8) for heads in (4, 2, 2))
    pages = torch.tensor([5, 2, 3])
    order = torch.arange(length)
    places = pages[order // PAGE] * PAGE + order % PAGE
    spans = [
        Span(begin, min(PAGE, length - begin), begin, pages[: begin // PAGE + 1])
        for begin in range(0, length, PAGE)
    ]
    device = torch.device("cpu")
    alone = one_by_one(PagedCache([shape], 5, torch.float32, device), places, spans)
    step = Together(places, pages[None], torch.tensor([length]))
    together = gathered(PagedCache([shape], 5, torch.float32, device), step)
    expected = torch.stack([row_of(q[at], k[: at + 1], v[: at + 1], how) for at in range(length)])
    for attend in (alone, together):
        torch.testing.assert_close(attend(0, q, k, v, how), expected)


def row_of(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, how: How) -> torch.Tensor:
    """What one row sees [heads, width]."""
    if how.window:
        k, v = k[-how.window :], v[-how.window :]
    seen = []
    for head in range(4):
        scores = k[:, head // 2] @ q[head] * (how.scale or 8**-0.5)
        scores = torch.tanh(scores / how.cap) * how.cap if how.cap else scores
        if how.sinks is not None:
            scores = torch.cat((scores, how.sinks[head : head + 1]))
        seen.append(scores.softmax(0)[: len(k)] @ v[:, head // 2])
    return torch.stack(seen)


def test_see_takes_keys_and_values_of_different_width():
    q, k, v = torch.randn(1, 3, 4, 8), torch.randn(1, 5, 2, 8), torch.randn(1, 5, 2, 6)
    assert see(q, k, v, None, How()).shape == (1, 3, 4, 6)


@pytest.mark.parametrize("kind", ["llama3", "mistral", "qwen2", "qwen3", "gpt2"])
def test_our_families_give_transformers_tokens_here_too(kind, directory, engine_of):
    plans = [greedy(length) for length in LENGTHS]
    engine = engine_of(kind)
    outputs = run(engine, plans)
    model = tiny.reference(directory(kind))
    for plan, output in zip(plans, outputs, strict=True):
        assert output.ids == tiny.greedy(model, plan.prompt.tolist(), 40), f"prompt of {plan.prompt.size}"
    assert engine.traits.adapters is None
    with pytest.raises(ServiceError) as refusal:
        engine.runner.open_adapted()
    assert refusal.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "qwen3_moe"])
@pytest.mark.parametrize("trace", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_alone_and_under_any_arrivals(kind, trace, engine_of):
    """Golden: text, ids and every log probability to the bit, with few slots and little memory."""
    chance = random.Random(trace)
    plans = [random_plan(chance) for _ in range(16)]
    arrivals = [chance.randint(0, 40) for _ in plans]
    alone_engine = engine_of(kind)
    alone = [run(alone_engine, [plan])[0] for plan in plans]
    crowded = engine_of(kind, slots=5, cache_bytes=1)
    assert crowded.positions == tiny.WINDOW
    together = run(crowded, plans, arrivals)
    assert together == alone
    assert crowded.figures.preemptions > 0
    assert crowded.figures.used_ratio == 0.0
    table = crowded.runner._table
    assert not table.rows.any(), "a slot that was left holds pages"


def test_a_model_whose_rows_know_each_other_is_stepped_row_by_row(engine_of, monkeypatch):
    plans = [greedy(length, 10) for length in LENGTHS]
    expected = [output.ids for output in run(engine_of("llama"), plans)]
    monkeypatch.setattr(opening, "keeps_to_itself", lambda runner: False)
    engine = engine_of("llama")
    assert isinstance(engine.runner._steps, ExactSteps)
    assert engine.runner._steps.apart
    assert [output.ids for output in run(engine, plans)] == expected


def test_a_known_prefix_is_not_read_again_and_changes_nothing(engine_of):
    shared = prompt(200)
    plans = [
        replace(greedy(1), prompt=np.concatenate((shared, prompt(length, seed=9)))) for length in (3, 20, 1)
    ]
    engine, cold = engine_of("llama"), engine_of("llama", prefix_bytes=0)
    assert run(engine, plans) == run(cold, plans)
    before = engine.figures.prefix_hits
    assert run(engine, plans[1:]) == run(cold, plans[1:])
    assert engine.figures.prefix_hits - before == 208 + 192


def test_a_window_that_is_full_slides(engine_of):
    engine = engine_of("llama")
    plan = greedy(200, count=300)
    (output,) = run(engine, [plan])
    whole = [*plan.prompt.tolist(), *output.ids]
    kept = np.array(whole[257 - 128 : 257])
    (again,) = run(engine, [Plan(Task.GENERATE, kept, sampling=Sampling(0.0), stopping=Stopping(20))])
    assert again.ids == whole[257 : 257 + 20]


def test_16_bits_stay_near_32(engine_of):
    ids = prompt(100)
    exact = engine_of("llama").runner.read(0, 0, ids, range(100))
    near = engine_of("llama", precision="bf16").runner
    assert near.bytes_per_position == 2 * 2 * 2 * 16 * 2
    assert np.abs(near.read(0, 0, ids, range(100)) - exact).mean() < 0.1 * exact.std()


def test_a_runner_holds_its_logits_once(engine_of):
    runner = engine_of("llama", slots=4).runner
    first = runner.read(0, 0, prompt(16), [15])
    assert np.shares_memory(first, runner.write(prompt(1), [16]))
    assert runner.read(0, 0, prompt(64), range(64)).shape == (64, tiny.VOCABULARY)


@pytest.mark.parametrize(
    ("slots", "sizes"), [(1, [1]), (3, [1, 2, 4]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 24])]
)
def test_batches_have_few_sizes(slots, sizes):
    assert batch_sizes(slots) == sizes


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "gpt_oss"])
def test_steps_in_batches_give_transformers_tokens(kind, directory, engine_of, in_batches):
    """All that a GPU does but the graph itself: buffers, padding, sizes; preemption, shared prefixes."""
    plans = [greedy(length) for length in (*LENGTHS, 100)]
    engine = engine_of(kind, slots=5, cache_bytes=1)
    outputs = run(engine, plans, [0, 0, 0, 1, 5, 5, 9, 30])
    assert engine.figures.preemptions > 0
    assert engine.figures.prefix_hits > 0
    model = tiny.reference(directory(kind))
    for plan, output in zip(plans, outputs, strict=True):
        assert output.ids == tiny.greedy(model, plan.prompt.tolist(), 40), f"prompt of {plan.prompt.size}"
    assert 1 < len(in_batches) <= len(batch_sizes(5)), "each size is recorded once"


def test_steps_that_cannot_be_recorded_run_as_they_are(engine_of, in_batches, monkeypatch):
    expected = [output.ids for output in run(engine_of("llama"), [greedy(9), greedy(20)])]

    def fail(step: cuda_graphs.Run) -> graphs.Run:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(opening, "BatchSteps", lambda *given: BatchSteps(*given[:4], fail))
    assert [output.ids for output in run(engine_of("llama"), [greedy(9), greedy(20)])] == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused_with_the_reason():
    assert (device_of("cpu"), device_of("auto")) == ("cpu", "cpu")
    with pytest.raises(SettingsError, match="PEQUOD_SAMPLER_DEVICE='cuda' is not usable: "):
        device_of("cuda")
