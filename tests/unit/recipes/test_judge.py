"""A judge of avatars: what it can say, how it learns, and by what it judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.common.store import Kind
from services.finetune.recipes import train_judge
from services.finetune.recipes.judge.judging import Judge, shrunk, verdict
from services.finetune.recipes.judge.vocabulary import NONE, WORDS, labels
from services.finetune.recipes.peeps.attributes import Avatar
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps, avatars
from services.finetune.recipes.peeps.pictures import pictures
from tests.stopping import stopped_after

OPTIONS = train_judge.Options(steps=30, batch=16, warm_up=5, kept_back=40, look_every=10)


@pytest.fixture(scope="module")
def peeps():
    return Peeps(HELD_OUT_FOLDER)


@pytest.fixture(scope="module")
def made(peeps, tmp_path_factory):
    """A judge that hardly learnt."""
    home = tmp_path_factory.mktemp("judge")
    out = home / "store/peeps-judge/1"
    return out, train_judge.train(peeps, peeps, home / "work", out, OPTIONS)


def test_every_word_of_every_avatar_has_a_place():
    drawn = list(avatars(3000, 5))
    places = labels(drawn)
    assert places.shape == (3000, len(WORDS))
    for place, (name, words) in enumerate(WORDS.items()):
        assert list(words[words[0] == NONE :]) == sorted(set(words) - {NONE})
        assert {words[each] for each in places[:, place]} == set(words), name
    avatar, row = drawn[0], dict(zip(WORDS, places[0], strict=True))
    assert WORDS["style"][row["style"]] == avatar.style
    assert WORDS["glasses"][row["glasses"]] == avatar.attributes.get("glasses", NONE)


def test_an_unknown_word_is_an_error():
    with pytest.raises(KeyError, match="plaid"):
        labels([Avatar("pixel-art", {"background": "plaid"})])


def test_a_judge_is_small_and_says_what_counts(made):
    out, manifest = made
    assert (manifest.kind, manifest.family) == (Kind.CLASSIFIER, "judge")
    assert manifest.metrics["parameters"] <= 300_000
    assert manifest.size_bytes <= 600_000
    judge = Judge(out, torch.device("cpu"))
    assert judge.counted == tuple(train_judge.counted(manifest.metrics))
    assert {name: tuple(words) for name, words in judge.words.items()} == dict(WORDS)
    assert {each.dtype for each in load_file(out / "judge.safetensors").values()} == {torch.float16}
    assert [point["step"] for point in manifest.config["curve"]] == [10, 20, 30]
    assert 0.5 < manifest.config["curve"][-1]["held_out_style"] <= 1
    assert manifest.metrics["named_background"] > 0.2


def test_what_is_measured_is_what_the_shipped_judge_says(made, peeps):
    out, manifest = made
    judge = Judge(out, torch.device("cpu"))
    said = judge.says(pictures(peeps.images))  # 128 pixels a side, as they are shipped
    right = (said == labels(peeps.avatars)).mean(axis=0)
    measured = [manifest.metrics[f"held_out_{name}"] for name in WORDS]
    assert right == pytest.approx(measured, abs=0.02)


def test_what_was_stopped_goes_on_to_the_same_weights(made, peeps, tmp_path):
    out = tmp_path / "store/peeps-judge/1"
    with stopped_after(12):
        train_judge.train(peeps, peeps, tmp_path / "work", out, OPTIONS)
    train_judge.train(peeps, peeps, tmp_path / "work", out, OPTIONS)
    whole, resumed = (load_file(each / "judge.safetensors") for each in (made[0], out))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_only_attributes_that_are_always_told_right_count():
    sure = {f"{kind}_{name}": 0.99 for kind in ("held_out", "kept_back", "named") for name in WORDS}
    assert train_judge.counted(sure) == list(WORDS)
    assert "hat" not in train_judge.counted(sure | {"named_hat": 0.96})
    assert "hat" not in train_judge.counted(sure | {"held_out_hat": 0.96})


def test_a_verdict_is_over_words_that_were_asked_for():
    words = {"style": ["a", "b"], "hat": [NONE, "cap"], "skin": ["x", "y"]}
    wanted = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    said = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]])
    given = verdict(said, wanted, words, ["style", "hat"])
    assert given.shares == {"style": 0.75, "hat": 0.5}
    assert given.share == pytest.approx(4 / 6)
    assert np.isnan(verdict(said[:0], wanted[:0], words, ["hat"]).share)


def test_wear_changes_some_pictures_a_little(peeps):
    clean = pictures(peeps.images[:200, ::4, ::4])
    moved = (train_judge.worn(clean, OPTIONS, np.random.default_rng(1)) - clean).abs().amax(dim=(1, 2, 3))
    assert 0.1 < (moved == 0).float().mean() < 0.4
    unworn = replace(OPTIONS, worn=0.0)
    assert torch.equal(train_judge.worn(clean, unworn, np.random.default_rng(1)), clean)


def test_pictures_shrink_by_whole_squares():
    assert shrunk(torch.ones(2, 3, 128, 128), 32).shape == (2, 3, 32, 32)
    for size in (16, 48):
        with pytest.raises(ValueError, match=f"pictures of {size} pixels a side do not shrink to 32"):
            shrunk(torch.ones(1, 3, size, size), 32)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "No such file or directory: 'nowhere/avatars.jsonl'"),
        (["--data", str(HELD_OUT_FOLDER)], "of 500 avatars, 2000 cannot be kept back"),
        (["--data", str(HELD_OUT_FOLDER), "--kept-back", "0"], "of 500 avatars, 0 cannot be kept back"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        train_judge.main([*arguments, "--work", str(tmp_path / "w"), "--out", str(tmp_path / "store/a/1")])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_folder_without_a_judge_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="it is no version of a judge"):
        Judge(tmp_path, torch.device("cpu"))
