"""Recipes on CUDA: they learn as on the CPU, and what was begun on a GPU goes on without one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.finetune.recipes import dreambooth, pretrain_diffusion, pretrain_lm, train_gan, train_upscaler
from services.finetune.recipes.language_tuning import recipe
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.version import Corpus
from tests.stopping import stopped_after
from tests.unit.recipes import (
    test_dreambooth,
    test_gan_recipe,
    test_pretrain_lm,
    test_tune_lm,
)
from tests.unit.recipes.conftest import conversations
from tests.unit.recipes.tiny_unet import MODELS, drawn, tiny_unet
from tests.unit.sampler import language_models as tiny

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]
SPREAD = 0.1
"""How far a score may be from the CPU's, as a share of it: a GPU multiplies in bfloat16, in another order."""


@pytest.fixture(autouse=True)
def _need_cuda():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.fixture(scope="module")
def peeps():
    few = Peeps(HELD_OUT_FOLDER)
    few.images, few.avatars = few.images[:40], few.avatars[:40]
    return few


def tuned(options, home):
    base = tiny.write("llama", home / "hub/tiny", chat=True)
    lines = [json.dumps(each) for each in conversations(24)]
    (home / "chats.jsonl").write_text("\n".join(lines))
    made = recipe.train(home / "chats.jsonl", base, home / "work", home / "store/mine/1", options)
    assert made.metrics["perplexity"] < made.metrics["perplexity_before"]
    return made.metrics["perplexity"]


def lora_lm(device, home, _):
    return tuned(replace(test_tune_lm.LORA, device=device), home)


def full_lm(device, home, _):
    return tuned(replace(test_tune_lm.FULL, device=device), home)


def language_model(device, home, _):
    chance = np.random.default_rng(0)
    names = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
    texts = ["\n\n".join(f"{name}\n\n{sentences(chance)}" for name in names) for _ in range(2)]
    options = replace(test_pretrain_lm.TINY, device=device)
    made = pretrain_lm.train(Corpus(texts, "two books"), home / "work", home / "store/a/1", options)
    return made.config["curve"][-1]["held_out_bits_per_byte"]


def sentences(chance):
    return "".join(chance.choice(test_pretrain_lm.SENTENCES, 60))


def person(device, home, _):
    base = test_dreambooth.opened(tiny_unet(home / "store/tiny/1"))
    photos = dreambooth.read_folder(drawn(home / "mine", 6), lambda _: None)
    options = replace(test_dreambooth.OPTIONS, device=device)
    made = dreambooth.train(photos, base, home / "work", home / "store/mine/1", options)
    return made.metrics["held_out_loss"]


def gan(device, home, peeps):
    options = replace(test_gan_recipe.OPTIONS, steps=20, look_every=10, device=device)
    made = train_gan.train(peeps, peeps, home / "work", home / "store/a/1", options)
    weights = load_file(home / "store/a/1/generator.safetensors")
    assert all(each.isfinite().all() for each in weights.values())
    return made.config["curve"][0]["loss"]


def upscaler(device, home, peeps):
    options = train_upscaler.Options(steps=60, batch=8, warm_up=5, average=0.9, device=device)
    made = train_upscaler.train(peeps, peeps, home / "work", home / "store/a/1", options)
    return made.metrics["psnr_32_to_64"]


def diffusion(device, home, peeps):
    clip = MODELS / "peeps-clip/2"
    width = json.loads((clip / "config.json").read_text())["text_config"]["hidden_size"]
    config = pretrain_diffusion.Config(
        size=16, widths=(32, 32), blocks=1, attends=(False, True), text_width=width
    )
    options = pretrain_diffusion.Options(steps=40, batch=8, warm_up=5, device=device)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain_diffusion, "Config", lambda: config)
        made = pretrain_diffusion.train(peeps, peeps, clip, home / "work", home / "store/a/1", options)
    return made.metrics["loss"]


RECIPES = {
    each.__name__: each for each in (lora_lm, full_lm, language_model, person, diffusion, gan, upscaler)
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_learns_on_cuda_what_it_learns_on_the_cpu(name, peeps, tmp_path):
    torch.cuda.reset_peak_memory_stats()
    cpu, cuda = (RECIPES[name](device, tmp_path / device, peeps) for device in ("cpu", "cuda"))
    assert torch.cuda.max_memory_allocated() > 0
    assert cuda == pytest.approx(cpu, rel=SPREAD)


def test_what_was_begun_on_a_gpu_goes_on_without_one(peeps, tmp_path):
    with stopped_after(10):
        gan("cuda", tmp_path, peeps)
    before = torch.cuda.memory_allocated()
    assert np.isfinite(gan("cpu", tmp_path, peeps))
    assert torch.cuda.memory_allocated() <= before
