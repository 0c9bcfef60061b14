"""The evaluation of a GAN: on one that hardly learnt, and on drawings passed off as made."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.finetune.recipes import train_gan
from services.finetune.recipes.gan.diversity import entropies
from services.finetune.recipes.gan.maker import Maker
from services.finetune.recipes.measures.variety import Variety, entropy, spread
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.drawing import at_size
from services.finetune.recipes.peeps.pictures import pictures
from tests.bench import eval_gan
from tests.bench.gan.projected import decibels

CPU = torch.device("cpu")
COUNT = 60


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    home = tmp_path_factory.mktemp("gan")
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    options = train_gan.Options(finest=8, most=8, steps=2, batch=4, look_every=2, device="cpu")
    train_gan.train(few, few, home / "work", home / "tiny-gan/1", options)
    return home / "tiny-gan/1"


def test_a_gan_is_measured_beside_the_diffusion_and_drawings(version, tmp_path, capsys):
    file, sheet, pairs = (tmp_path / name for name in ("figures.json", "made.png", "pairs.png"))
    arguments = ["--count", str(COUNT), "--painted", "16", "--steps", "2", "--json", str(file)]
    arguments += ["--projected", "4", "--contact", str(sheet), "--pairs", str(pairs)]
    eval_gan.main(["--model", str(version), "--device", "cpu", *arguments])
    said = capsys.readouterr().out
    assert "tiny-gan:1 beside held-out drawings, 32 pixels a side" in said
    assert "- attribute entropy, nothing stated: " in said
    assert sheet.stat().st_size > 1000
    assert pairs.stat().st_size > 1000
    written = json.loads(file.read_text())
    assert written["sizes"] == {
        "made": "60 against 60",
        "made_of_attributes": "60 against 60",
        "painted": "16 against 16",
        "drawn": "30 against 30",
        "projected": "4 drawings",
    }
    kid, entropies_ = (written["figures"][name] for name in ("kid@peeps-clip-v2", "attribute_entropy"))
    assert kid["drawn"] < 0.2 * kid["made"]
    assert entropies_["made"] < 0.9 < entropies_["drawn"]
    assert set(written["figures"]["recall@peeps-clip-v2"]) == set(written["sizes"]) - {"projected"}
    assert 5 < written["figures"]["psnr_db"]["projected"] < 25  # it learnt for two steps
    shown = written["figures"]["attributes_shown"]
    assert shown["made_of_attributes"] < 0.5
    assert shown["drawn"] > 0.9


def test_drawings_passed_off_as_made_are_as_good_as_drawings(version, monkeypatch, tmp_path):
    drawn = pictures(at_size(Peeps(HELD_OUT_FOLDER).images[COUNT : 2 * COUNT], 32))
    monkeypatch.setattr(Maker, "make", lambda *_: drawn)
    file = tmp_path / "figures.json"
    arguments = ["--count", str(COUNT), "--painted", "0", "--projected", "0", "--json", str(file)]
    eval_gan.main(["--model", str(version), *arguments])
    figures = json.loads(file.read_text())["figures"]
    assert figures["kid@peeps-clip-v2"]["made"] < 0.05
    assert figures["recall@peeps-clip-v2"]["made"] > 0.4
    assert figures["attribute_entropy"]["made"] > 0.9


def test_a_maker_makes_what_the_version_holds(version):
    maker = Maker(version, CPU)
    stated = torch.zeros(6, maker.config.attributes)
    one, again, other = maker.make(stated), maker.make(stated), maker.make(stated, seed=1)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.shape == (6, 3, 32, 32)
    assert set(load_file(version / "generator.safetensors")) == set(maker._generator.state_dict())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nowhere"], "nowhere is not there: recipe train_gan makes it"),
        (["--count", "3"], "--count and --painted begin at 8"),
        (["--scheduler", "sideways"], "scheduler is 'sideways'"),
    ],
)
def test_what_cannot_be_measured_ends_with_a_sentence(arguments, said, version, capsys):
    with pytest.raises(SystemExit) as ended:
        eval_gan.main(["--model", str(version), *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_variety_of_a_set_beside_itself_and_beside_one_kind():
    chance = np.random.default_rng(0)
    centers = 5 * chance.standard_normal((8, 2))
    real, again = (np.repeat(centers, 20, axis=0) + 0.1 * chance.standard_normal((160, 2)) for _ in range(2))
    variety = Variety(real, centers)
    same, one = variety.of(again), variety.of(centers[0] + 0.001 * chance.standard_normal((160, 2)))
    assert (same["spread"], same["modes"]) == (pytest.approx(1, abs=0.02), pytest.approx(1))
    assert same["duplicates"] < 0.35
    assert same["recall"] > 0.9
    assert one["spread"] < 0.01
    assert one["modes"] == 0
    assert one["duplicates"] > 0.95
    assert one["recall"] < 0.2


def test_spread_and_entropy_by_hand():
    assert spread(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])) == pytest.approx(10 / 3)  # 5, 5 and 0
    assert entropy(np.array([0, 0, 1, 1])) == pytest.approx(np.log(2))
    assert entropy(np.array([3, 3, 3])) == 0


def test_entropies_are_shares_over_the_attributes_that_count():
    judged = SimpleNamespace(words={name: ["x", "y"] for name in "abc"}, counted=("a", "c"))
    real = np.array([[0, 0, 0], [1, 1, 1]] * 4)
    made = np.array([[0, 0, 0], [1, 0, 0]] * 4)  # a as varied as real, c not at all; b does not count
    assert entropies(judged, made, real) == pytest.approx(0.5)


def test_decibels_by_hand():
    real = torch.zeros(2, 3, 4, 4)
    made = torch.stack([real[0] + 0.2, real[1] + 0.02])  # errors of 0.1 and 0.01 of the range: 20 and 40 dB
    assert decibels(made, real) == pytest.approx(30, abs=1e-3)
