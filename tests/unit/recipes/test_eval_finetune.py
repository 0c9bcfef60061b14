"""The evaluation of personal fine-tunes, on a tiny model; and the persons that it is done with."""

from __future__ import annotations

import json

import pytest
import torch

from services.finetune.recipes.measures.features import Features
from services.finetune.recipes.peeps.dataset import Peeps
from services.finetune.recipes.peeps.pictures import pictures
from services.finetune.recipes.peeps.views import persons
from tests.bench import eval_finetune
from tests.bench.finetune.persons import FOLDER, LEARNT, VIEWS, Recognition, read
from tests.unit.recipes.tiny_unet import MODELS, tiny_unet

LASTING = ("skin", "hair", "hair_color", "glasses", "facial_hair", "hat", "hat_color", "earrings")


@pytest.fixture(scope="module")
def shipped():
    return Peeps(FOLDER)


def test_what_is_shipped_is_what_its_seed_gives(shipped):
    expected = list(persons(5, VIEWS, 3))
    assert [each.attributes for each in shipped.avatars] == [each.attributes for each in expected]
    assert shipped.images.shape == (5 * VIEWS, 64, 64, 3)


def test_a_person_stays_and_surroundings_are_the_same_for_all(shipped):
    views = [shipped.avatars[first : first + VIEWS] for first in range(0, 5 * VIEWS, VIEWS)]
    who = [{tuple(each.attributes.get(name) for name in LASTING) for each in view} for view in views]
    assert [len(each) for each in who] == [1] * 5
    assert len({next(iter(each)) for each in who}) == 5
    around = [
        [(each.attributes["background"], each.attributes["clothes"]) for each in view] for view in views
    ]
    assert all(each == around[0] for each in around)
    assert len(set(around[0])) == VIEWS


def test_words_for_a_person_leave_out_what_changes():
    people, _ = read(FOLDER, 5)
    assert people[0].told() == "drawing of a person with light skin, red long hair and moustache"
    assert len({each.told() for each in people}) == 5
    with pytest.raises(ValueError, match="holds 75 views, 6 persons have 90"):
        read(FOLDER, 6)


def test_drawn_views_are_recognised(shipped):
    features = Features(MODELS / "peeps-clip/2", torch.device("cpu"))
    recognition = Recognition(shipped, 5, 32, features)
    learnt = [place for place in range(5 * VIEWS) if place % VIEWS < LEARNT]
    found = recognition.who(pictures(shipped.at(32)[learnt]))
    assert sum(who == place // VIEWS for who, place in zip(found, learnt, strict=True)) / len(found) > 0.95


def test_figures_of_each_person_are_shown(tmp_path, capsys):
    base = tiny_unet(tmp_path / "tiny/1")
    arguments = ["--base", str(base), "--count", "2", "--each", "1", "--picture-steps", "2", "--steps", "2"]
    arguments += ["--batch", "2", "--prior-batch", "1", "--prior-images", "4", "--lora-rank", "2"]
    arguments += ["--checkpoint-every", "2", "--prompts", "{}", "--device", "cpu"]
    arguments += ["--json", str(tmp_path / "found.json"), "--contact", str(tmp_path / "sheet.png")]
    eval_finetune.main(arguments)
    found = json.loads((tmp_path / "found.json").read_text())
    assert all(len(values) == 2 for values in found.values())
    assert all(0 <= share <= 1 for name in ("own", "told", "asked") for share in found[name])
    assert sum(found["asked"]) <= 1
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    said = capsys.readouterr().out
    assert "pictures nearest to their own person's held-out views" in said
    assert "of 4 targets met" in said


def test_what_cannot_be_measured_ends_with_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        eval_finetune.main(["--base", str(tmp_path)])
    assert ended.value.code == 2
    assert "holds no model to start from" in capsys.readouterr().err
