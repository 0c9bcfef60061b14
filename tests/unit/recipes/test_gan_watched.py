"""Avatars of 16 pixels: recipe train_gan notices pitfalls that are caused, and counters bring it back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from services.finetune.recipes import train_gan
from services.finetune.recipes.gan import losses
from services.finetune.recipes.gan.options import PASSING, PRESETS
from services.finetune.recipes.gan.pitfalls.detectors import COLLAPSE, VANISHING, Collapse
from services.finetune.recipes.gan.training import Training
from services.finetune.recipes.options import lasting
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.stopping import stopped_after

pytestmark = pytest.mark.timeout(600)  # half a minute on an idle core
ROOT = Path(__file__).parents[3]
TINY = replace(PRESETS["healthy"], most=8, steps=12, batch=8, look_every=6, watch_every=3)
NEWER = {
    "latent",
    "width",
    "features",
    "gp",
    "critic_steps",
    "generator_steps",
    "stddev",
    "noise",
    "watch_every",
    "grace",
}
"""Options that train_gan did not have in the beginning."""


@pytest.fixture(scope="module")
def peeps():
    return Peeps(HELD_OUT_FOLDER)


class Run:
    """A training by a preset, and what it left."""

    def __init__(self, peeps, home, **options):
        self.work, self.out = home / "work", home / "store/tiny/1"
        self.manifest = train_gan.train(peeps, peeps, self.work, self.out, train_gan.Options(**options))
        self.events = self.manifest.config["events"]
        self.last = self.manifest.config["curve"][-1]

    def of(self, what):
        return [each for each in self.events if each["what"] == what]


def run(peeps, home, preset, **changes):
    return Run(peeps, home, **vars(replace(PRESETS[preset], look_every=50, **changes)))


@pytest.mark.slow
def test_nothing_rings_in_a_healthy_run(peeps, tmp_path):
    healthy = run(peeps, tmp_path, "healthy", steps=150)
    assert healthy.events == []
    assert healthy.last["spread"] > 0.7
    assert healthy.last["duplicates"] < 0.1
    parameters = (healthy.manifest.metrics[f"{each}_parameters"] for each in ("generator", "discriminator"))
    assert sum(parameters) < 100_000


@pytest.mark.slow
def test_a_vanishing_gradient_is_noticed_and_countered(peeps, tmp_path):
    left = run(peeps, tmp_path / "left", "vanishing", steps=100, counters="off")
    assert [each["pitfall"] for each in left.events] == [VANISHING]
    assert left.last["saturated"] > 0.8
    countered = run(peeps, tmp_path / "countered", "vanishing", steps=200)
    assert {each["pitfall"] for each in countered.of("alarm")} == {VANISHING}
    assert [each["action"] for each in countered.of("action")][:2] == [
        "non_saturating_loss",
        "stronger_penalty",
    ]
    assert countered.last["saturated"] < 0.1
    assert countered.last["generator_gradient"] > 10 * left.last["generator_gradient"]


@pytest.mark.slow
def test_a_mode_collapse_is_noticed_and_countered(peeps, tmp_path):
    left = run(peeps, tmp_path / "left", "collapse", steps=200, counters="off")
    assert [(each["pitfall"], each["what"]) for each in left.events] == [(COLLAPSE, "alarm")]
    assert left.last["spread"] < 0.6
    assert left.last["duplicates"] > 0.3
    countered = run(peeps, tmp_path / "countered", "collapse", steps=350)
    assert {each["pitfall"] for each in countered.events} == {COLLAPSE}
    assert countered.of("recovered")
    assert countered.last["spread"] > 0.7
    assert countered.last["duplicates"] < 0.1
    written = [json.loads(line) for line in (countered.work / "events.jsonl").read_text().splitlines()]
    assert written == countered.events
    assert set(written[0]["signs"]) <= set(written[0]["figures"])


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_every_loss_trains(loss, peeps, tmp_path):
    tiny = Run(peeps, tmp_path, **vars(replace(TINY, loss=loss, noise=0.05, generator_steps=2)))
    assert all(each.isfinite().all() for each in load_file(tiny.out / "generator.safetensors").values())
    assert 0 <= tiny.last["accuracy"] <= 1


def test_a_run_without_alarms_is_the_same_unwatched(peeps, tmp_path):
    weights = []
    for name, changes in (("often", {}), ("never", {"watch_every": 1000, "counters": "off"})):
        each = Run(peeps, tmp_path / name, **vars(replace(TINY, **changes)))
        assert each.events == []
        weights.append(load_file(each.out / "generator.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_roll_back_is_the_same_after_a_stop(peeps, tmp_path, monkeypatch):
    """Stopped between the alarm's looks; the state to go back to is that of the checkpoint."""
    monkeypatch.setattr(Collapse, "signs", lambda *_: ["spread"])
    monkeypatch.setattr(Collapse, "is_well", lambda *_: False)
    options = replace(TINY, r1=1.0, steps=16, watch_every=2, grace=0)  # no other counter would change a thing
    whole = Run(peeps, tmp_path / "whole", **vars(options))
    assert [(each["step"], each["action"]) for each in whole.of("action")] == [(6, "roll_back")]
    with stopped_after(5):
        Run(peeps, tmp_path / "parts", **vars(options))
    parts = Run(peeps, tmp_path / "parts", **vars(options))
    assert parts.events == whole.events
    for name in ("generator.safetensors", "discriminator.safetensors"):
        expected, found = load_file(whole.out / name), load_file(parts.out / name)
        assert all(torch.equal(expected[each], found[each]) for each in expected)


def test_a_checkpoint_from_before_there_was_a_watch_goes_on(peeps, tmp_path, monkeypatch):
    options = train_gan.Options(size=16, finest=8, most=8, steps=6, batch=8, look_every=3, device="cpu")
    with stopped_after(3):
        Run(peeps, tmp_path, **vars(options))
    file = tmp_path / "work/checkpoint.pt"
    saved = torch.load(file)
    del saved["watch"]
    for name in NEWER:
        del saved["options"][name]
    torch.save(saved, file)
    assert [each["step"] for each in Run(peeps, tmp_path, **vars(options)).manifest.config["curve"]] == [3, 6]
    assert set(saved["options"]) | NEWER == set(lasting(options, PASSING))


def test_a_checkpoint_of_other_options_is_refused(peeps, tmp_path, monkeypatch):
    with stopped_after(3):
        Run(peeps, tmp_path, **vars(TINY))
    with pytest.raises(ValueError, match="made with other options"):
        Run(peeps, tmp_path, **vars(replace(TINY, gp=3.0)))


def test_presets_are_defaults_of_the_command(peeps, tmp_path, monkeypatch):
    seen = []

    def stop(*arguments):
        seen.append(arguments[-1])
        raise ValueError("enough")

    monkeypatch.setattr(train_gan, "train", stop)
    for arguments in (["--preset", "collapse", "--rate", "0.125"], []):
        with pytest.raises(SystemExit):
            train_gan.main(
                ["--data", str(HELD_OUT_FOLDER), "--work", str(tmp_path), "--out", str(tmp_path), *arguments]
            )
    assert seen == [replace(PRESETS["collapse"], rate=0.125), train_gan.Options()]


def test_what_is_seen_of_pictures_with_a_tower_and_a_judge(tmp_path):
    options = train_gan.Options(
        finest=8,
        most=8,
        batch=4,
        watch_every=4,
        clip=str(ROOT / "models/peeps-clip/2"),
        judge=str(ROOT / "models/peeps-judge/1"),
        device="cpu",
    )
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:80], few.avatars[:80]
    found = Training(few, few, tmp_path, options).measure()
    names = {"kid@peeps-clip-v2", "precision@peeps-clip-v2", "recall@peeps-clip-v2", "attributes"}
    assert names <= set(found)
    assert found["kid@peeps-clip-v2"] > 0.1  # an untrained generator draws nothing like it
    assert 0 <= found["attributes"] < 0.9
