"""A network for each level of noise beside one that is told the level."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from services.diffusion.networks.unet import Config
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.painting import Painting
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS
from services.finetune.recipes import diffusion_per_level as recipe
from services.finetune.recipes import pretrain_clip
from services.finetune.recipes.diffusion.levelled import Ladder, PerLevel, Told, places
from services.finetune.recipes.diffusion.noising import cosine_levels
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.stopping import stopped_after

CPU = torch.device("cpu")
SIZES = Config(size=8, widths=(32, 32), blocks=1, attends=(False, True), text_width=32)
OPTIONS = recipe.Options(levels=3, size=8, steps=6, batch=8, warm_up=2, look_every=3, painted=4)


@pytest.fixture(scope="module")
def peeps():
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    return few


def test_levels_are_spaced_evenly():
    assert Ladder(8, CPU).timesteps == [124, 249, 374, 499, 624, 749, 874, 999]
    assert Ladder(1, CPU).timesteps == [999]
    for count in (0, 1001):
        with pytest.raises(ValueError, match=f"there are 1 to 1000 levels, not {count}"):
            Ladder(count, CPU)


def test_who_knows_the_picture_comes_down_to_it():
    ladder = Ladder(5, CPU)
    wanted = torch.rand(2, 3, 8, 8) * 2 - 1
    noise = torch.randn_like(wanted)
    asked = []

    def knows(sample, timestep):
        asked.append(int(timestep[0]))
        signal, share = ladder._noising.shares(timestep)
        left = (sample - signal * wanted) / share
        return signal * left - share * wanted

    torch.testing.assert_close(ladder.down(knows, noise), wanted, atol=1e-4, rtol=0)
    assert asked == ladder.timesteps[::-1]


def test_coming_down_is_what_the_service_does_by_ddim():
    torch.manual_seed(0)
    ladder, network = Ladder(4, CPU), Told(SIZES).eval()
    torch.nn.init.normal_(network.unet.leave.weight, std=0.05)
    noise = torch.randn(1, 3, 8, 8)
    scheduler, levels = SCHEDULERS["ddim"], Levels.of_config(cosine_levels())
    walk = scheduler.walk(levels, scheduler.path(levels, 4), noise[0].numpy(), lambda step: None)
    painting = Painting(walk, levels, 4, None, None, Guidance())
    while not painting.is_finished:
        timestep = torch.tensor([int(painting.call.timestep)])
        with torch.no_grad():
            painting.answer([network(torch.from_numpy(painting.call.sample)[None], timestep)[0].numpy()])
    np.testing.assert_allclose(ladder.down(network, noise)[0], painting.result, atol=2e-4)


def test_a_network_learns_at_its_own_level_alone(peeps):
    training = recipe.Training(peeps, peeps, "per-level", OPTIONS)
    networks = training.model.networks
    before = {name: [each.clone() for each in net.parameters()] for name, net in networks.items()}
    training.learn(1, np.random.default_rng(0))
    changed = {
        name: any(not torch.equal(old, new) for old, new in zip(before[name], net.parameters(), strict=True))
        for name, net in networks.items()
    }
    assert changed == {"332": False, "666": True, "999": False}


def test_each_level_is_asked_of_its_network():
    model = PerLevel(SIZES, [124, 999])
    sample = torch.randn(2, 3, 8, 8)
    for level in (124, 999):
        torch.nn.init.normal_(model.networks[str(level)].unet.leave.weight, std=level / 1e4)
        timestep = torch.full((2,), level)
        assert torch.equal(model(sample, timestep), model.networks[str(level)](sample, timestep))


def test_both_forms_see_all_levels_alike():
    chance = np.random.default_rng(0)
    assert [set(places(step, 4, 3, True, chance)) for step in range(4)] == [{0}, {1}, {2}, {0}]
    counts = Counter(place for step in range(300) for place in places(step, 8, 3, False, chance))
    assert [counts[place] / 2400 for place in range(3)] == pytest.approx([1 / 3] * 3, abs=0.01)
    assert len({tuple(places(0, 8, 8, False, chance)) for _ in range(9)}) > 1


@pytest.mark.slow
def test_both_learn_and_are_compared(peeps, tmp_path, capsys):
    clip = pretrain_clip.Options(width=32, text_layers=1, image_layers=1, dimensions=16, steps=1, batch=8)
    pretrain_clip.train(peeps, peeps, tmp_path / "c", tmp_path / "store/peeps-clip/1", clip)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(OPTIONS).items()]
    given = ["--data", str(HELD_OUT_FOLDER), "--work", str(tmp_path / "work"), *flags, "--steps", "30"]
    recipe.main([*given, "--clip", str(tmp_path / "store/peeps-clip/1")])
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "work/table.md").read_text()
    rows = dict(
        [cell.strip() for cell in line.strip("|").split("|", maxsplit=1)] for line in shown.splitlines()
    )
    numbers = [int(cell.replace(",", "")) for cell in rows["parameters"].split("|")]
    assert numbers[0] == 3 * numbers[1]
    assert rows["training steps of each network"].split() == ["10", "|", "30"]
    assert "making 4 pictures, s" in rows
    assert "kid@peeps-clip-v1" in rows
    forms = json.loads((tmp_path / "work/outcome.json").read_text())["forms"]
    for form in recipe.FORMS:
        assert len(forms[form]["losses"]) == 3
        assert forms[form]["held_out_loss"] < 1
        assert (tmp_path / f"work/{form}.png").stat().st_size > 100


def test_what_was_stopped_goes_on_to_the_same_networks(peeps, tmp_path):
    whole = recipe.train(peeps, peeps, "per-level", tmp_path / "whole", OPTIONS)
    with stopped_after(4):
        recipe.train(peeps, peeps, "per-level", tmp_path / "parts", OPTIONS)
    resumed = recipe.train(peeps, peeps, "per-level", tmp_path / "parts", OPTIONS)
    assert resumed.losses == whole.losses
    assert torch.equal(resumed.pictures, whole.pictures)
    with pytest.raises(ValueError, match="was made with other options"):
        recipe.train(peeps, peeps, "per-level", tmp_path / "parts", replace(OPTIONS, width=64))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "No such file or directory: 'nowhere/avatars.jsonl'"),
        (["--data", str(HELD_OUT_FOLDER), "--levels", "0"], "there are 1 to 1000 levels, not 0"),
        (["--data", str(HELD_OUT_FOLDER), "--device", "abacus"], "device is 'abacus'"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        recipe.main([*arguments, "--work", str(tmp_path / "work")])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
