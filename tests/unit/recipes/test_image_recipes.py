"""Recipes of images on a few avatars: they learn, leave versions, and go on where they were stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from services.common.store import Kind
from services.diffusion.networks.unet import Config, Unet
from services.finetune.recipes import (
    distill_diffusion,
    draw_peeps,
    pretrain_clip,
    pretrain_diffusion,
    train_upscaler,
)
from services.finetune.recipes.peeps import words
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.resumable import cosine
from tests.stopping import stopped_after

CLIP = pretrain_clip.Options(width=32, text_layers=1, image_layers=1, dimensions=16, steps=4, batch=8)


@pytest.fixture(scope="module")
def peeps():
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    return few


@pytest.fixture(scope="module")
def clip(peeps, tmp_path_factory):
    """A tiny peeps-clip."""
    home = tmp_path_factory.mktemp("clip")
    out = home / "store/peeps-clip/1"
    manifest = pretrain_clip.train(peeps, peeps, home / "work", out, CLIP)
    return out, manifest


def test_a_text_image_embedder_is_a_directory_of_transformers(clip):
    from transformers import CLIPModel

    out, manifest = clip
    assert (manifest.kind, manifest.family) == (Kind.TEXT_IMAGE_EMBEDDER, "clip")
    assert manifest.metrics["pairs_seen"] == 32
    model = CLIPModel.from_pretrained(out)
    assert model.config.projection_dim == 16
    assert json.loads((out / "preprocessor_config.json").read_text())["size"] == {"height": 64, "width": 64}


def test_a_text_is_read_at_its_end(clip, peeps):
    from tokenizers import Tokenizer
    from transformers import CLIPModel

    out, _ = clip
    model = CLIPModel.from_pretrained(out).float().eval()
    ids, mask = words.encode(
        Tokenizer.from_file(str(out / "tokenizer.json")),
        ["a person, red background", "a person, blue background"],
    )
    with torch.no_grad():
        read = model.text_model(torch.from_numpy(ids), torch.from_numpy(mask))
    ends = mask.sum(1) - 1
    last = read.last_hidden_state[torch.arange(2), torch.from_numpy(ends)]
    torch.testing.assert_close(read.pooler_output, last)
    assert not torch.equal(read.pooler_output[0], read.pooler_output[1])


def test_what_was_stopped_goes_on_to_the_same_weights(clip, peeps, tmp_path):
    out, _ = clip
    with stopped_after(2):
        pretrain_clip.train(peeps, peeps, tmp_path / "work", tmp_path / "store/peeps-clip/1", CLIP)
    pretrain_clip.train(peeps, peeps, tmp_path / "work", tmp_path / "store/peeps-clip/1", CLIP)
    whole, resumed = (
        load_file(each / "model.safetensors") for each in (out, tmp_path / "store/peeps-clip/1")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_text_tower_is_learnt_towards_images_that_stay(clip, peeps, tmp_path):
    first, _ = clip
    out = tmp_path / "store/peeps-clip/2"
    options = replace(CLIP, images=str(first), seed=2)
    manifest = pretrain_clip.train(peeps, peeps, tmp_path / "work", out, options)
    assert manifest.parent == manifest.config["training"]["images"] == "peeps-clip:1"
    before, after = (load_file(each / "model.safetensors") for each in (first, out))
    kept = [name for name in before if name.startswith(("vision_model", "visual_projection"))]
    assert len(kept) > 10
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert not torch.equal(before["text_projection.weight"], after["text_projection.weight"])
    with pytest.raises(ValueError, match="image tower of other sizes"):
        pretrain_clip.train(
            peeps, peeps, tmp_path / "work", tmp_path / "store/c/1", replace(options, width=64)
        )
    with pytest.raises(ValueError, match="holds no version"):
        pretrain_clip.train(
            peeps, peeps, tmp_path / "work", tmp_path / "store/c/1", replace(options, images="nowhere")
        )


def test_a_work_folder_of_other_options_is_refused(peeps, tmp_path):
    pretrain_clip.train(peeps, peeps, tmp_path / "work", tmp_path / "store/a/1", replace(CLIP, steps=1))
    with pytest.raises(ValueError, match="was made with other options"):
        pretrain_clip.train(peeps, peeps, tmp_path / "work", tmp_path / "store/b/1", replace(CLIP, seed=2))


@pytest.fixture(scope="module")
def diffusion(clip, peeps, tmp_path_factory):
    """A tiny peeps-diffusion, and the work folder of its training."""
    text, _ = clip
    home = tmp_path_factory.mktemp("diffusion")
    config = pretrain_diffusion.Config(
        size=16, widths=(32, 32), blocks=1, attends=(False, True), text_width=32
    )
    options = pretrain_diffusion.Options(steps=40, batch=8, warm_up=5)
    out = home / "store/tiny/1"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain_diffusion, "Config", lambda: config)
        manifest = pretrain_diffusion.train(peeps, peeps, text, home / "work", out, options)
    return out, home / "work", manifest


def test_a_diffusion_model_learns_and_is_published(diffusion):
    out, work, manifest = diffusion
    assert manifest.kind == Kind.DIFFUSION
    assert manifest.metrics["loss"] < 0.9
    assert json.loads((out / "scheduler_config.json").read_text())["prediction_type"] == "v_prediction"
    assert (work / "previews-000040.png").stat().st_size > 1000
    weights = load_file(out / "unet.safetensors")
    assert {each.dtype for each in weights.values()} == {torch.float16}
    assert (out / "text/tokenizer.json").exists()


def test_few_steps_are_distilled_into_an_adapter_that_peft_reads(diffusion, peeps, tmp_path):
    from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

    base, _, parent = diffusion
    options = distill_diffusion.Options(rank=4, steps=30, batch=8, warm_up=2, average=0.5, look_every=10)
    out = tmp_path / "store/fast/1"
    manifest = distill_diffusion.train(peeps, peeps, base, tmp_path / "work", out, options)
    assert (manifest.kind, manifest.config["base_digest"]) == (Kind.ADAPTER, parent.digest)
    losses = [point["loss"] for point in manifest.config["curve"]]
    assert losses[-1] < losses[0]
    assert (tmp_path / "work/previews-000030.png").stat().st_size > 1000
    network = Unet(Config.of(parent.config["unet"]))
    targets = json.loads((out / "adapter_config.json").read_text())["target_modules"]
    model = get_peft_model(network, LoraConfig(r=4, lora_alpha=4, target_modules=targets))
    read = set_peft_model_state_dict(model, load_peft_weights(str(out)))
    assert not read.unexpected_keys
    assert not [name for name in read.missing_keys if "lora" in name]


def test_an_upscaler_beats_bicubic_soon(peeps, tmp_path):
    options = train_upscaler.Options(steps=40, batch=4, warm_up=5, average=0.9)
    out = tmp_path / "store/tiny/1"
    manifest = train_upscaler.train(peeps, peeps, tmp_path / "work", out, options)
    assert manifest.kind == Kind.UPSCALER
    assert manifest.metrics["over_bicubic_32_to_64"] > 0


def test_an_upscaler_needs_large_avatars(peeps, tmp_path):
    small = Peeps(HELD_OUT_FOLDER)
    small.images = small.images[:, ::2, ::2]
    with pytest.raises(ValueError, match="have 64 pixels a side, 128 are needed"):
        train_upscaler.train(
            small, small, tmp_path / "work", tmp_path / "store/t/1", train_upscaler.Options()
        )


@pytest.mark.parametrize(
    ("recipe", "arguments", "said"),
    [
        (pretrain_clip, ["--data", "nowhere"], "No such file or directory: 'nowhere/avatars.jsonl'"),
        (pretrain_diffusion, ["--data", "DATA", "--text", "nowhere"], "nowhere holds no tokenizer.json"),
        (train_upscaler, ["--data", "nowhere"], "No such file or directory: 'nowhere/avatars.jsonl'"),
        (pretrain_clip, ["--data", "DATA", "--batch", "501"], "larger sample than population"),
        (train_upscaler, ["--data", "DATA", "--device", "abacus"], "device is 'abacus', one of auto, cpu"),
        (draw_peeps, ["--count", "0"], "--count begins at 1"),
        (draw_peeps, ["--count", "3"], "No such file or directory: 'npm'"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(recipe, arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    given = [str(HELD_OUT_FOLDER) if each == "DATA" else each for each in arguments]
    with pytest.raises(SystemExit) as ended:
        recipe.main([*given, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "store/a/1")])
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_rate_rises_and_falls():
    rates = [cosine(step, 100, 10) for step in range(100)]
    assert max(rates) == rates[9] == 1.0
    assert rates[0] == 0.1
    assert rates[-1] < 0.02
