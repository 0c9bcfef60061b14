"""Detectors, ladders and the watch on made-up figures: no network, no training."""

from __future__ import annotations

import json

import pytest
import torch

from services.finetune.recipes.gan import losses
from services.finetune.recipes.gan.pitfalls.alarm import Alarm, Patience, Ring
from services.finetune.recipes.gan.pitfalls.counters import LADDERS, climb
from services.finetune.recipes.gan.pitfalls.detectors import COLLAPSE, VANISHING, Collapse, Vanishing
from services.finetune.recipes.gan.pitfalls.events import Event, Journal, What
from services.finetune.recipes.gan.pitfalls.regime import Regime
from services.finetune.recipes.gan.pitfalls.snapshot import Snapshot
from services.finetune.recipes.gan.pitfalls.watch import OFF, Manner, Watch

PATIENCE = Patience(begins=2, again=3, ends=2)
WELL = {"accuracy": 0.7, "generator_gradient": 1.0, "saturated": 0.0}
GONE = {"accuracy": 0.99, "generator_gradient": 0.01, "saturated": 0.0}
FLAT = {"accuracy": 0.99, "generator_gradient": 1.0, "saturated": 0.95}
VARIED = {"spread": 1.0, "modes": 1.0, "attributes": 1.0, "duplicates": 0.0}
ALIKE = {"spread": 0.1, "modes": 0.2, "duplicates": 0.9}
BASE = Regime(loss=losses.SATURATING, r1=0.0, rate=1e-3, critic_rate=4e-3, critic_steps=3, compares=False)


class Weight:
    """A part of a training: one number."""

    def __init__(self, value=0.0):
        self.value = torch.tensor(value)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state_dict):
        self.value = state_dict["value"]


@pytest.mark.parametrize(
    ("looks", "rings"),
    [
        ("bgbgbg", "------"),
        ("bb", "-B"),
        ("bbbbbbbb", "-B--A--A"),
        ("bbgbgg", "-B---E"),  # one good look ends nothing
        ("bbggbb", "-B-E-B"),
        ("bbbgbbb", "-B----A"),  # and a good look gives what was done more time
    ],
)
def test_an_alarm_rings_late_and_ends_late(looks, rings):
    names = {Ring.NOTHING: "-", Ring.BEGINS: "B", Ring.AGAIN: "A", Ring.ENDS: "E"}
    alarm = Alarm(PATIENCE)
    assert "".join(names[alarm.hear(each == "b")] for each in looks) == rings


@pytest.mark.parametrize(
    ("figures", "signs"),
    [
        (WELL, []),
        (GONE, ["generator_gradient"]),
        (FLAT, ["saturated"]),
        (GONE | {"accuracy": 0.97}, []),  # small gradients at the end of a good training
        (WELL | {"accuracy": 1.0}, []),  # a sure discriminator that still teaches
    ],
)
def test_a_gradient_has_vanished_where_a_sure_discriminator_teaches_nothing(figures, signs):
    detector = Vanishing(PATIENCE)
    for _ in range(5):
        detector.look(WELL)
    assert detector.signs(figures) == signs


def test_vanished_gradients_do_not_become_usual():
    detector = Vanishing(PATIENCE)
    detector.look(WELL)
    rings = [detector.look(GONE) for _ in range(200)]
    assert rings[1] is Ring.BEGINS
    assert Ring.ENDS not in rings


def test_a_vanishing_alarm_ends_when_the_discriminator_errs_again():
    detector = Vanishing(PATIENCE)
    detector.look(WELL)
    mended = WELL | {"accuracy": 0.97}  # another loss: the gradient is back, its cause is not gone
    assert [detector.look(each) for each in (GONE, GONE, mended, mended, mended)][-1] is Ring.AGAIN
    assert [detector.look(WELL) for _ in range(2)][-1] is Ring.ENDS


@pytest.mark.parametrize(
    ("change", "signs"),
    [
        ({}, []),
        ({"spread": 0.4}, ["spread"]),
        ({"modes": 0.2}, ["modes"]),
        ({"attributes": 0.3}, ["attributes"]),
        ({"duplicates": 0.5}, ["duplicates"]),
        ({"modes": 0.2, "precision": 0.1}, []),  # pictures like nothing are of no kind
        ({"modes": 0.2, "precision": 0.3}, ["modes"]),
        ({"spread": 0.4, "precision": 0.1}, ["spread"]),
        ({"spread": 0.1, "duplicates": 1.0}, ["spread", "duplicates"]),
    ],
)
def test_a_collapse_is_seen_by_each_of_its_figures(change, signs):
    assert Collapse(PATIENCE).signs(VARIED | change) == signs


def test_figures_that_are_not_measured_are_no_sign():
    assert Collapse(PATIENCE).signs({"spread": 1.0}) == []


def test_little_variety_at_the_beginning_is_no_collapse_but_after_variety_it_is():
    patient, varied = Collapse(PATIENCE, grace=4), Collapse(PATIENCE, grace=4)
    assert [patient.look(ALIKE) for _ in range(6)].index(Ring.BEGINS) == 4
    varied.look(VARIED)
    assert [varied.look(ALIKE) for _ in range(2)][-1] is Ring.BEGINS


@pytest.mark.parametrize("kind", [Vanishing, Collapse])
def test_a_detector_goes_on_from_its_state(kind):
    bad = GONE | ALIKE
    one, other = kind(PATIENCE), kind(PATIENCE)
    for figures in (WELL | VARIED, bad):
        one.look(figures)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert [one.look(bad) for _ in range(9)] == [other.look(bad) for _ in range(9)]
    assert one.state_dict() == other.state_dict()


def test_the_ladder_of_a_vanishing_gradient():
    regime, names = BASE, []
    rung = climb(LADDERS[VANISHING], 0, regime)
    while rung < len(LADDERS[VANISHING]):
        counter = LADDERS[VANISHING][rung]
        regime, names = counter.change(regime), [*names, counter.name]
        rung = climb(LADDERS[VANISHING], rung + 1, regime)
    assert names == [
        "non_saturating_loss",
        "stronger_penalty",
        "slower_discriminator",
        "extra_generator_step",
        "instance_noise",
        "augmentation",
    ]
    assert regime == Regime(
        loss=losses.NON_SATURATING,
        r1=1.0,
        gp=40.0,
        rate=2e-3,
        critic_rate=2e-3,
        critic_steps=1,
        generator_steps=2,
        noise=0.1,
        augment=0.6,
        compares=False,
    )


def test_rungs_that_would_change_nothing_are_passed_over():
    fine = Regime(loss=losses.RELATIVISTIC, r1=1.0, rate=1e-3, critic_rate=1e-3)
    assert LADDERS[VANISHING][climb(LADDERS[VANISHING], 0, fine)].name == "stronger_penalty"
    assert LADDERS[COLLAPSE][climb(LADDERS[COLLAPSE], 0, fine)].name == "roll_back"
    assert climb(LADDERS[COLLAPSE], 3, fine) == 3


def watched(work, weight=None, counters="on", base=BASE):
    work.mkdir(exist_ok=True)
    watch = Watch(base, Manner(10, 0, counters, PATIENCE), {"weight": weight or Weight()}, work)
    watch.begin(0)
    return watch


def go(watch, step, figures, variety):
    watch.note({name: torch.tensor(value) for name, value in figures.items()})
    watch.after(step, lambda: variety)


def read(work):
    return [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]


def test_every_alarm_and_action_is_an_event_with_its_figures(tmp_path):
    watch = watched(tmp_path)
    for step in (10, 20):
        go(watch, step, FLAT, VARIED)
    for step in (30, 40):
        go(watch, step, WELL, VARIED)
    alarm, action, over = read(tmp_path)
    assert alarm == {
        "step": 20,
        "pitfall": "vanishing_gradient",
        "what": "alarm",
        "action": "",
        "signs": ["saturated"],
        "figures": {"accuracy": 0.99, "generator_gradient": 1.0, "saturated": 0.95, **VARIED},
    }
    assert (action["what"], action["action"]) == ("action", "non_saturating_loss")
    assert (over["step"], over["what"]) == (40, "recovered")
    assert watch.regime.loss == losses.NON_SATURATING
    assert watch.journal.plain() == [alarm, action, over]


def test_figures_of_a_look_are_means_of_the_steps_since_the_last(tmp_path):
    watch = watched(tmp_path)
    for step in range(1, 21):
        go(watch, step, FLAT | {"saturated": 0.92 if step % 2 else 0.96}, VARIED)
    assert read(tmp_path)[0]["figures"]["saturated"] == pytest.approx(0.94)


def test_without_counters_alarms_are_only_noted(tmp_path):
    watch = watched(tmp_path, counters=OFF)
    for step in range(10, 200, 10):
        go(watch, step, FLAT, VARIED)
    assert [each["what"] for each in read(tmp_path)] == ["alarm"]
    assert watch.regime == BASE


def test_a_collapse_is_rolled_back_to_the_last_healthy_state(tmp_path):
    weight = Weight()
    watch = watched(tmp_path, weight)
    for step, figures in ((10, VARIED), (20, VARIED), *((step, ALIKE) for step in range(30, 130, 10))):
        weight.value = torch.tensor(float(step))
        go(watch, step, WELL, figures)
        if step == 100:
            assert weight.value == 20  # as it was when all was last well
    actions = [(each["step"], each["action"]) for each in read(tmp_path) if each["what"] == "action"]
    assert actions == [(40, "minibatch_deviation"), (70, "relativistic_pairing"), (100, "roll_back")]
    assert (watch.regime.rate, watch.regime.compares, watch.regime.r1) == (5e-4, True, 1.0)


def test_a_ladder_at_its_end_says_so_once(tmp_path):
    watch = watched(tmp_path)
    for step in range(10, 400, 10):
        go(watch, step, WELL, ALIKE)
    assert [each["what"] for each in read(tmp_path)].count("helpless") == 1


def test_a_generator_that_is_taught_nothing_has_not_collapsed(tmp_path):
    watch = watched(tmp_path, counters=OFF)
    for step in range(10, 200, 10):
        go(watch, step, FLAT, ALIKE if step > 20 else VARIED)
    assert {each["pitfall"] for each in read(tmp_path)} == {VANISHING}


def test_a_watch_goes_on_from_its_state_in_the_midst_of_an_alarm(tmp_path):
    def course(step):
        return (FLAT, VARIED) if step < 60 else (WELL, ALIKE)

    whole = watched(tmp_path / "whole")
    for step in range(1, 201):
        go(whole, step, *course(step))
    first = watched(tmp_path / "parts")
    for step in range(1, 45):  # between two looks, an alarm rings
        go(first, step, *course(step))
    state = first.state_dict()
    for step in range(45, 60):
        go(first, step, *course(step))  # lost, and done again
    second = watched(tmp_path / "parts")
    second.load_state_dict(state)
    for step in range(45, 201):
        go(second, step, *course(step))
    assert second.regime == whole.regime
    assert read(tmp_path / "parts") == read(tmp_path / "whole")
    assert len(read(tmp_path / "whole")) >= 8


def test_a_snapshot_is_not_changed_by_what_comes_after():
    weight = Weight(1.0)
    snapshot = Snapshot({"weight": weight})
    snapshot.keep(5)
    for _ in range(2):
        weight.value += 1
        snapshot.restore()
        assert weight.value == 1
    assert snapshot.step == 5


def test_a_journal_forgets_what_came_after_a_checkpoint(tmp_path):
    journal = Journal(tmp_path / "events.jsonl")
    journal.write(Event(1, COLLAPSE, What.ALARM))
    state = journal.state_dict()
    journal.write(Event(2, COLLAPSE, What.RECOVERED))
    assert len(read(tmp_path)) == 2
    journal.load_state_dict(state)
    assert [each["step"] for each in read(tmp_path)] == [1]
    assert journal.events == [Event(1, COLLAPSE, What.ALARM)]


@pytest.mark.parametrize(
    ("every", "counters", "said"), [(0, "on", "1 is the least"), (5, "maybe", "one of on, off")]
)
def test_a_watch_that_cannot_be_is_refused(every, counters, said):
    with pytest.raises(ValueError, match=said):
        Manner(every, 0, counters)
