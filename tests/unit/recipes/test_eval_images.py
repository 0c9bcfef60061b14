"""The evaluation of images, on tiny models that hardly learnt and on drawings passed off as painted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from services.finetune.recipes import pretrain_clip, pretrain_diffusion, train_judge, train_upscaler
from services.finetune.recipes.diffusion.painter import Painter
from services.finetune.recipes.diffusion.painting import Manner
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.drawing import shrink
from services.finetune.recipes.peeps.pictures import pictures
from tests.bench import eval_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def peeps():
    return Peeps(HELD_OUT_FOLDER)


@pytest.fixture(scope="module")
def models(peeps, tmp_path_factory):
    """A store of tiny models."""
    home = tmp_path_factory.mktemp("models")
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    clip = pretrain_clip.Options(width=32, text_layers=1, image_layers=1, dimensions=16, steps=1, batch=8)
    pretrain_clip.train(few, few, home / "work/c", home / "peeps-clip/2", clip)
    config = pretrain_diffusion.Config(widths=(32, 32), blocks=1, attends=(False, True), text_width=32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain_diffusion, "Config", lambda: config)
        patched.setattr(train_upscaler, "MEASURED", 4)
        diffusion = pretrain_diffusion.Options(steps=1, batch=4)
        pretrain_diffusion.train(
            few, few, home / "peeps-clip/2", home / "work/d", home / "peeps-diffusion/1", diffusion
        )
        upscaler = train_upscaler.Options(steps=1, batch=2)
        train_upscaler.train(few, few, home / "work/u", home / "peeps-upscaler/1", upscaler)
    judge = train_judge.Options(steps=40, batch=32, warm_up=5, kept_back=40)
    train_judge.train(peeps, peeps, home / "work/j", home / "peeps-judge/1", judge)
    return home


def evaluate(models, *arguments):
    named = [f"--{name}={models / folder}" for name, folder in eval_images.SHIPPED.items()]
    eval_images.main([*named, "--steps", "2", *arguments])


def test_everything_is_measured(models, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(eval_images, "MEASURED", 4)
    data = tmp_path / "data"
    data.mkdir()
    small = shrink(Peeps(HELD_OUT_FOLDER).images[:60], 64)
    np.save(data / "images.npy", small)
    lines = (HELD_OUT_FOLDER / "avatars.jsonl").read_text().splitlines()[:60]
    (data / "avatars.jsonl").write_text("\n".join(lines))
    sheet, file = tmp_path / "new/sheet.png", tmp_path / "figures.json"
    evaluate(models, "--count", "20", "--data", str(data), "--sheet", str(sheet), "--json", str(file))
    said = capsys.readouterr().out
    assert "peeps-diffusion:1: 20 held-out captions, dpmpp_2m, 2 steps, guidance 3" in said
    assert "attributes that count:" in said
    assert "drawn against drawn: 20 against 20, painted: 20 against 20" in said
    assert "| measure " in said
    assert "of 3 targets met" in said
    with Image.open(sheet) as picture:
        assert picture.size == (16 * (3 * 32 + 2), 3 * (3 * 32 + 2))
    written = json.loads(file.read_text())
    assert (written["model"], written["captions"], written["scheduler"]) == (
        "peeps-diffusion:1",
        20,
        "dpmpp_2m",
    )
    figures = written["figures"]
    assert figures["kid@peeps-clip-v2"] > figures["kid@peeps-clip-v2_drawn"]
    assert figures["nearest_pixels_least_drawn"] == 0  # this folder holds what is held out
    assert figures["nearest_pixels_median"] > 20
    assert figures["nearest_features_least_drawn"] == pytest.approx(0, abs=1e-2)
    assert "upscaler_over_bicubic_32_to_64" in figures


def test_drawings_passed_off_as_painted_show_what_the_judge_tells(models, peeps, tmp_path, monkeypatch):
    small = pictures(shrink(peeps.images, 32))
    monkeypatch.setattr(Painter, "paint", lambda self, captions, manner: small[: len(captions)])
    monkeypatch.setattr(train_judge, "COUNTS", 0.0)
    monkeypatch.setattr(eval_images.Judge, "verdict", counting_all(eval_images.Judge.verdict))
    file = tmp_path / "figures.json"
    evaluate(models, "--only", "words", "likeness", "--json", str(file))
    figures = json.loads(file.read_text())["figures"]
    assert figures["shown"] == figures["shown_drawn"]
    assert figures["shown_style"] > 0.9
    assert figures["shown_style_of_others"] == pytest.approx(0.5, abs=0.1)
    assert figures["shown"] > figures["shown_of_others"] + 0.1
    assert figures["precision@peeps-clip-v2"] == figures["recall@peeps-clip-v2"] == 1
    assert figures["kid@peeps-clip-v2"] < 2 * figures["kid_deviation@peeps-clip-v2"]


def counting_all(verdict):
    def of(self, painted, wanted):
        self.counted = tuple(self.words)
        return verdict(self, painted, wanted)

    return of


def test_a_published_model_paints_as_its_training_did(models, peeps):
    painter = Painter(models / "peeps-diffusion/1", CPU)
    assert painter.name == "peeps-diffusion:1"
    assert painter.config.widths == (32, 32)
    captions = [full_caption(avatar) for avatar in peeps.avatars[:3]]
    made = painter.paint(captions, Manner(steps=2))
    assert made.shape == (3, 3, 32, 32)
    assert torch.equal(painter.paint(captions[:1], Manner(steps=2))[0], made[0])
    assert not torch.equal(made[0], made[1])


def test_models_that_are_not_there_are_named_together(models, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        eval_images.main(["--model", str(tmp_path / "a"), "--clip", str(tmp_path / "b"), "--only", "copies"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'a'} is not there: recipe pretrain_diffusion makes it, and --model names" in said
    assert f"{tmp_path / 'b'} is not there: recipe pretrain_clip makes it, and --clip names another" in said
    assert "judge" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scheduler", "abacus"], "scheduler is 'abacus', one of ddpm, ddim"),
        (["--steps", "0"], "--count and --steps begin at 1"),
        (["--count", "0"], "--count and --steps begin at 1"),
        (["--count", "1", "--only", "likeness"], "are too small to compare"),
        (["--data", "nowhere"], "No such file or directory: 'nowhere/avatars.jsonl'"),
        (["--judge", "CLIP"], "holds no judge.safetensors"),
        (["--upscaler", "CLIP", "--only", "upscaler"], "holds no upscaler.safetensors"),
        (["--model", "CLIP", "--only", "words"], "holds no unet.safetensors"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(models, arguments, said, capsys):
    given = [str(models / "peeps-clip/2") if each == "CLIP" else each for each in arguments]
    with pytest.raises(SystemExit) as ended:
        evaluate(models, "--count", "4", *given)
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
