"""The n-gram engine: same seed, same text, alone or in company; what is reported about each position."""

import math

import numpy as np
import pytest

from services.sampler.engine import Finish
from services.sampler.ngrams import engine as engine_module
from services.sampler.ngrams import table as table_module
from services.sampler.ngrams.alphabet import UNKNOWN
from services.sampler.ngrams.chain import Smoothing
from services.sampler.ngrams.engine import NgramEngine
from services.sampler.sampling import Sampling
from services.sampler.sequence import Task
from tests.unit.sampler.ngram_models import OPENING, run, sequence, table, unbounded

SHAKEN = Sampling(presence_penalty=0.3, repetition_penalty=1.2)


@pytest.fixture(scope="module", params=[table, unbounded], ids=["counted", "searched"])
def model(request):
    return request.param(OPENING)


def text(model, *args, **kwargs):
    return run(NgramEngine("m", model), sequence(model, *args, **kwargs))[0].text


def test_greedy_follows_the_likeliest():
    model = table("ABRACADABRA", order=2)
    assert text(model, "A", max_tokens=6, sampling=Sampling(temperature=0)) == "BRABRA"


def test_greedy_takes_the_lowest_id_of_equals():
    model = table("ACAB", order=2)
    assert text(model, "A", max_tokens=1, sampling=Sampling(temperature=0)) == "B"


def test_an_empty_prompt_begins_from_nothing(model):
    assert len(text(model, "", max_tokens=30)) == 30


def test_every_drawn_symbol_was_seen_after_its_context(model):
    drawn = "th" + text(model, "th", max_tokens=300, order=3)
    assert all(
        drawn[i : i + 3] in OPENING or OPENING.endswith(drawn[i : i + 2]) for i in range(len(drawn) - 2)
    )


def test_unbounded_order_recites_the_text():
    model = unbounded(OPENING)
    assert text(model, "Call me Ish", max_tokens=50) == OPENING[11:61]


def test_frequencies_are_those_of_the_table():
    model = table("AAB" * 50, order=1)
    drawn = text(model, max_tokens=20_000)
    assert drawn.count("A") / len(drawn) == pytest.approx(2 / 3, abs=0.015)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=3, temperature=1.3), SHAKEN], ids=str)
def test_the_same_seed_gives_the_same_text_in_any_company(model, sampling):
    def wanted(index=0, **changes):
        return sequence(
            model,
            "the ",
            max_tokens=700,
            order=4,
            **{"sampling": sampling, "seed": 11, "index": index, **changes},
        )

    alone = text(model, "the ", max_tokens=700, order=4, sampling=sampling, seed=11)
    company = [wanted(), *(wanted(index=i) for i in range(1, 8)), *(wanted(seed=s) for s in range(8))]
    together = [output.text for output in run(NgramEngine("m", model), *company)]
    assert together[0] == alone
    assert len(set(together)) == len(together)


def test_how_steps_are_cut_does_not_matter(model, monkeypatch):
    whole = text(model, "sea", max_tokens=300, sampling=Sampling(top_p=0.9))
    monkeypatch.setattr(type(model), "block", 9)
    monkeypatch.setattr(engine_module, "STEP_SECONDS", 0.0)
    assert text(model, "sea", max_tokens=300, sampling=Sampling(top_p=0.9)) == whole


@pytest.mark.parametrize("sampling", [Sampling(), SHAKEN], ids=["table", "looking back"])
def test_asking_for_logprobs_changes_no_text(model, sampling):
    plain, detailed = run(
        NgramEngine("m", model),
        sequence(model, "in ", max_tokens=100, sampling=sampling),
        sequence(model, "in ", max_tokens=100, sampling=sampling, logprobs=True, top=3),
    )
    assert plain.text == detailed.text
    assert not plain.positions
    assert [p.symbol for p in detailed.positions] == detailed.ids
    assert plain.logprob == pytest.approx(detailed.logprob)
    assert sum(p.logprob for p in detailed.positions) == pytest.approx(detailed.logprob)


def test_logprobs_are_of_the_model_before_any_filter():
    model = table("ABRACADABRA", order=2)
    (output,) = run(
        NgramEngine("m", model),
        sequence(model, "A", max_tokens=1, sampling=Sampling(temperature=0), logprobs=True, top=2),
    )
    (position,) = output.positions
    assert position.logprob == pytest.approx(math.log(2 / 4))
    assert [(a.symbol, a.logprob) for a in position.top] == [
        (1, pytest.approx(math.log(2 / 4))),
        (2, pytest.approx(math.log(1 / 4))),
    ]
    assert position.context_used == 1


def test_a_full_table_is_emptied_and_the_text_stays(monkeypatch):
    model = table(OPENING, order=4)
    whole = text(model, max_tokens=400)
    monkeypatch.setattr(table_module, "ROWS", 5)
    assert text(model, max_tokens=400) == whole


def test_tables_of_old_settings_make_room(monkeypatch):
    model = table(OPENING, order=3)
    engine = NgramEngine("m", model)
    monkeypatch.setattr(engine_module, "_TABLES", 2)
    for top_k in (1, 2, 3, 1):
        run(engine, sequence(model, sampling=Sampling(top_k=top_k)))
    assert len(engine._tables) == 2


def test_a_step_gives_everyone_a_turn_and_ends(model, monkeypatch):
    """With its time used up, a step still gives each sequence one block, and no more."""
    monkeypatch.setattr(engine_module, "STEP_SECONDS", 0.0)
    engine = NgramEngine("m", model)
    rows = [sequence(model, max_tokens=10_000, index=i) for i in range(5)]
    assert [len(output.ids) for output in engine.step(rows)] == [model.block] * 5


def test_a_released_sequence_is_forgotten(model):
    engine = NgramEngine("m", model)
    one = sequence(model, max_tokens=5)
    run(engine, one)
    engine.release(one)
    engine.release(one)
    assert not engine._cursors


def test_a_failing_sequence_disturbs_no_other(model):
    bad = sequence(model, order=1)
    object.__setattr__(bad.plan, "prompt", None)
    failed, fine = NgramEngine("m", model).step([bad, sequence(model, max_tokens=5)])
    assert isinstance(failed.error, Exception)
    assert fine.finish is Finish.LENGTH
    assert fine.error is None


def score(model, what, **plan):
    return run(NgramEngine("m", model), sequence(model, what, task=Task.SCORE, **plan))[0]


def test_scores_add_up_by_hand():
    output = score(table("ABRACADABRA", order=2), "ABR", prompt_logprobs=True)
    expected = [5 / 11, 2 / 4, 2 / 2]
    assert [math.exp(p.logprob) for p in output.prompt_positions] == pytest.approx(expected)
    assert [p.context_used for p in output.prompt_positions] == [0, 1, 1]
    assert output.logprob == pytest.approx(math.log(5 / 22))
    assert (output.scored, output.impossible, output.finish) == (3, 0, Finish.DONE)


def test_impossible_and_unknown_symbols_are_counted():
    output = score(table("ABRACADABRA", order=2), "AB\N{SNOWMAN}CC", prompt_logprobs=True, top=1)
    assert output.scored == 5
    assert output.impossible == 2  # the snowman, and C after C
    assert output.logprob == -math.inf
    assert output.prompt_positions[2].symbol == UNKNOWN
    assert output.prompt_positions[3].context_used == 0


@pytest.mark.parametrize("make", [table, unbounded])
def test_a_long_text_is_scored_in_parts(make):
    long = OPENING * 40
    model = make(long)
    engine = NgramEngine("m", model, clock=iter(range(10**9)).__next__)
    scored = sequence(model, long, task=Task.SCORE)
    parts = 0
    output = None
    while scored.finish is None:
        (later,) = engine.step([scored])
        output = later if output is None else output
        if later is not output:
            output.add(later)
        parts += 1
    assert parts > 1
    assert output.scored == len(long)
    at_once = model.chain(scored.plan.ngram).score(scored.plan.prompt, 0, len(long)).probabilities
    assert (at_once > 0).all()
    assert output.logprob == pytest.approx(np.log(at_once).sum())


def test_a_prompt_is_scored_before_text_is_drawn(model):
    with_scores, without = run(
        NgramEngine("m", model),
        sequence(model, "ever ", prompt_logprobs=True, top=2),
        sequence(model, "ever "),
    )
    assert [p.symbol for p in with_scores.prompt_positions] == model.alphabet.encode("ever ").tolist()
    assert all(1 <= len(p.top) <= 2 for p in with_scores.prompt_positions)
    assert with_scores.text == without.text


def show(model, prompt, **plan):
    return run(NgramEngine("m", model), sequence(model, prompt, task=Task.TABLE, rows=10, **plan))[0].table


def test_the_table_by_hand():
    shown = show(table("ABRACADABRA", order=2), "A")
    assert [(row.symbol, row.probability, row.count) for row in shown.rows] == [
        (1, pytest.approx(0.5), 2),
        (2, pytest.approx(0.25), 1),
        (3, pytest.approx(0.25), 1),
    ]
    assert (shown.candidates, shown.context_used, shown.context_count) == (3, 1, 5)
    assert shown.entropy_bits == pytest.approx(1.5)


def test_the_table_after_filters_keeps_the_models_logprobs():
    shown = show(table("ABRACADABRA", order=2), "A", sampling=Sampling(top_k=1))
    assert [(row.probability, row.logprob) for row in shown.rows] == [(1.0, pytest.approx(math.log(0.5)))]
    assert (shown.candidates, shown.entropy_bits) == (1, 0.0)


def test_kneser_ney_draws_what_was_never_seen():
    model = table(OPENING, order=4)
    shown = show(model, "Ish", smoothing=Smoothing.KNESER_NEY)
    assert shown.candidates == model.alphabet.size
    assert shown.rows[0].count == 1
    assert shown.rows[-1].count == 0
    assert len(text(model, "Ish", max_tokens=2000, smoothing=Smoothing.KNESER_NEY)) == 2000
