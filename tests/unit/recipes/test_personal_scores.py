"""Scores of personal fine-tunes: what rules a candidate out, and which way each goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.common.store import Kind
from services.finetune.recipes.base import open_base
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.pictures import pictures
from services.finetune.recipes.personal.models.opening import open_tunable
from services.finetune.recipes.personal.scores.eye import Eye
from services.finetune.recipes.personal.scores.scoring import DRIFT, Scoring
from services.finetune.recipes.personal.scores.sights import COPIED, Sights, spread, unit
from services.finetune.recipes.personal.wording import Wording
from tests.bench.finetune.persons import FOLDER, LEARNT, VIEWS
from tests.unit.recipes.tiny_unet import MODELS, tiny_unet

PROMPTS = "{}|{} with a hat|{}, blue background"


@pytest.fixture(scope="module")
def eye():
    return Eye(MODELS / "peeps-clip/2", torch.device("cpu"))


@pytest.fixture(scope="module")
def persons():
    """[persons, views, 3, 64, 64]."""
    drawn = pictures(Peeps(FOLDER).images)
    return drawn.unflatten(0, (5, VIEWS))


@pytest.fixture(scope="module")
def others():
    return pictures(Peeps(HELD_OUT_FOLDER).at(64)[:32])


def scores_of(sights, painted):
    return {each.name: each for each in sights.scores(painted)}


def test_an_eye_finds_the_caption_of_a_drawing(eye):
    held_out = Peeps(HELD_OUT_FOLDER)
    seen = eye.projected(eye.features(pictures(held_out.at(64)[:40])))
    read = eye.read([full_caption(each) for each in held_out.avatars[:40]])
    assert (seen @ read.T).argmax(1).eq(torch.arange(40)).float().mean() > 0.9


def test_a_persons_other_views_are_liker_than_other_persons(eye, persons, others):
    wording = Wording.of(Options(prompts="|".join(["{}"] * (VIEWS - LEARNT))))
    for number in range(5):
        sights = Sights(eye, wording, persons[number, :LEARNT], others)
        likeness = [scores_of(sights, each[LEARNT:])["subject_similarity"].value for each in persons]
        assert int(np.argmax(likeness)) == number
        own = scores_of(sights, persons[number, LEARNT:])
        assert not own["nearest_training_distance"].veto


def test_copies_rule_a_candidate_out(eye, persons, others):
    sights = Sights(eye, Wording.of(Options(prompts=PROMPTS)), persons[0, :LEARNT], others)
    noisy = persons[0, :3] + 0.02 * torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    copied = scores_of(sights, noisy)["nearest_training_distance"]
    assert copied.value < COPIED
    assert "copy pictures learnt from" in copied.veto
    assert scores_of(sights, noisy)["diversity"].value > 0
    alike = scores_of(sights, persons[0, :1].expand(3, -1, -1, -1))
    assert alike["diversity"].value == pytest.approx(0, abs=1e-3)


def test_a_single_picture_and_equal_ones_are_measured_by_the_others():
    others = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    assert unit(torch.zeros(1, 2), others) == 1.0
    assert unit(torch.zeros(3, 2), others) == 1.0
    assert unit(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), others) == 3.0
    assert spread(torch.zeros(1, 2)) == 0.0
    assert spread(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == 5.0


@pytest.mark.parametrize(
    ("prompt", "name", "word"),
    [
        ("{} with sunglasses", "glasses", "sunglasses"),
        ("smiling {}", "expression", "smiling"),
        ("angry {}", "expression", "angry"),
        ("{}, red shirt", "clothes", "red"),
    ],
)
def test_fidelity_is_higher_where_what_was_asked_is_shown(prompt, name, word, eye, others):
    held_out = Peeps(HELD_OUT_FOLDER)
    shows = [each.attributes.get(name) == word for each in held_out.avatars]
    with_it = [place for place, each in enumerate(shows) if each][:8]
    without = [place for place, each in enumerate(shows) if not each][:8]
    sights = Sights(eye, Wording.of(Options(prompts="|".join([prompt] * 8))), others[:4], others)
    found = [
        scores_of(sights, pictures(held_out.at(64)[places]))["prompt_fidelity"].value
        for places in (with_it, without)
    ]
    assert found[0] > 0 > found[1]


def test_drift_is_nothing_at_first_and_rules_out_what_forgot_its_class(tmp_path):
    base = open_base(tiny_unet(tmp_path / "tiny/1"), "", Kind.DIFFUSION)
    model = open_tunable(base, Options(lora_rank=0, device="cpu"))
    clean = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    told = model.told(["a person"] * 4)
    scoring = Scoring(model, Wording.of(Options(prompts="{}")), (clean, told), (clean, told))
    first = {each.name: each for each in scoring.judge().scores}
    assert first["drift"].value == pytest.approx(0, abs=1e-9)
    assert not first["drift"].veto
    with torch.no_grad():
        for weight in model.learned:
            weight.mul_(3.0)
    moved = {each.name: each for each in scoring.judge().scores}
    assert moved["drift"].value > DRIFT
    assert "other things than the base" in moved["drift"].veto
    assert moved["held_out_loss"].value != first["held_out_loss"].value
