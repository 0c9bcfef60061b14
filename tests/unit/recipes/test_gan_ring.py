"""The ring of Gaussians: its pitfalls are caused, noticed and mended; it goes on where it was stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from services.finetune.recipes import gan_ring
from services.finetune.recipes.gan import losses, ring
from services.finetune.recipes.gan.pitfalls.detectors import COLLAPSE, VANISHING
from services.finetune.recipes.gan.pitfalls.events import What
from services.finetune.recipes.gan.pitfalls.watch import OFF
from tests.stopping import stopped_after

pytestmark = pytest.mark.timeout(600)  # some ten seconds on an idle core
SHORT = 400
"""Steps that are enough to cover every mode; without counters a training does not mend itself in as many."""
MENDED = 600
"""Steps that are enough to bring back modes that were lost to a collapse."""


def alarms(outcome):
    return {each.pitfall for each in outcome.events if each.what is What.ALARM}


def actions(outcome):
    return [each.action for each in outcome.events if each.what is What.ACTION]


def test_a_healthy_run_covers_every_mode_and_nothing_rings(tmp_path):
    outcome = gan_ring.train(tmp_path, replace(gan_ring.PRESETS["healthy"], steps=SHORT))
    assert outcome.events == []
    assert outcome.covered == 8
    assert (tmp_path / "events.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("preset", "pitfall"),
    [("vanishing", VANISHING), pytest.param("collapse", COLLAPSE, marks=pytest.mark.slow)],
)
def test_a_pitfall_that_is_caused_is_noticed_and_stays_without_counters(preset, pitfall, tmp_path):
    options = replace(gan_ring.PRESETS[preset], counters=OFF, steps=SHORT)
    outcome = gan_ring.train(tmp_path, options)
    assert alarms(outcome) == {pitfall}
    assert actions(outcome) == []
    assert outcome.covered <= 4


@pytest.mark.parametrize(
    ("preset", "pitfall", "first", "steps"),
    [
        pytest.param("vanishing", VANISHING, "non_saturating_loss", 2000, marks=pytest.mark.slow),
        ("collapse", COLLAPSE, "minibatch_deviation", MENDED),
    ],
)
def test_counters_bring_a_run_back_to_all_modes(preset, pitfall, first, steps, tmp_path):
    outcome = gan_ring.train(tmp_path, replace(gan_ring.PRESETS[preset], steps=steps))
    assert alarms(outcome) == {pitfall}
    assert actions(outcome)[0] == first
    assert outcome.events[-1].what is What.RECOVERED
    assert outcome.covered == 8


@pytest.mark.parametrize(
    ("preset", "step"), [("vanishing", 47), pytest.param("collapse", 83, marks=pytest.mark.slow)]
)
def test_what_was_stopped_in_the_midst_of_an_alarm_goes_on_to_the_same_weights(
    preset, step, tmp_path, monkeypatch
):
    """The alarm rings, its first counter is applied, and figures wait for the next look."""
    options = replace(gan_ring.PRESETS[preset], steps=step + 90, look_every=20, grace=40)
    whole = gan_ring.train(tmp_path / "whole", options)
    assert [each.step < step for each in whole.events][:2] == [True, True]
    assert whole.events[-1].step > step
    with stopped_after(step):
        gan_ring.train(tmp_path / "parts", options)
    parts = gan_ring.train(tmp_path / "parts", options)
    np.testing.assert_array_equal(parts.made, whole.made)
    assert parts.events == whole.events
    states = [torch.load(tmp_path / each / "checkpoint.pt") for each in ("whole", "parts")]
    for name in ("generator", "discriminator"):
        assert all(torch.equal(states[0][name][each], states[1][name][each]) for each in states[0][name])
    read = [(tmp_path / each / "events.jsonl").read_text() for each in ("whole", "parts")]
    assert read[0] == read[1]


@pytest.mark.slow
def test_wgan_gp_learns_the_ring(tmp_path):
    options = gan_ring.Options(loss=losses.WGAN_GP, rate=1e-3, critic_rate=1e-3, critic_steps=3, steps=300)
    outcome = gan_ring.train(tmp_path, options)
    assert outcome.events == []
    assert outcome.last["recall"] > 0.5
    assert outcome.last["saturated"] == 0


def test_modes_are_covered_by_enough_points_that_are_near():
    centers = ring.centers().numpy()
    assert ring.covered(np.repeat(centers, 10, axis=0)) == 8
    assert ring.covered(np.concatenate([np.repeat(centers[:3], 40, axis=0), centers])) == 3  # single ones
    assert ring.covered(np.repeat(centers * 0.8, 10, axis=0)) == 0
    torch.manual_seed(0)
    assert ring.covered(ring.draw(2000).numpy()) == 8


def test_turned_points_stay_at_their_distance():
    points = ring.draw(500, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    turned = ring.turned(points, torch.tensor(0.5))
    torch.testing.assert_close(turned.norm(dim=1), points.norm(dim=1))
    assert 0.4 < ((turned - points).norm(dim=1) > 1e-6).float().mean() < 0.6


def test_the_discriminator_sees_a_batch_only_while_it_trains():
    torch.manual_seed(0)
    discriminator, points = ring.Discriminator(), ring.draw(8)
    alone = torch.stack([discriminator(each[None])[0] for each in points])
    assert not torch.allclose(discriminator(points), alone)
    discriminator.eval()
    torch.testing.assert_close(
        discriminator(points), torch.stack([discriminator(each[None])[0] for each in points])
    )


def test_the_command_prints_events_and_modes(tmp_path, capsys):
    work = tmp_path / "work"
    gan_ring.main(["--preset", "vanishing", "--counters", "off", "--steps", "60", "--work", str(work)])
    said = capsys.readouterr().out
    assert "vanishing_gradient alarm" in said
    assert "modes covered: " in said
    assert (work / "curve.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--loss", "wishful"], "loss is 'wishful'"), (["--counters", "maybe"], "one of on, off is needed")],
)
def test_what_cannot_be_done_ends_with_a_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        gan_ring.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
