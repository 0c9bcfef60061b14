"""Recipe dreambooth on tiny directories of diffusers' format: what it leaves, diffusers loads."""

from __future__ import annotations

from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.common.store import Kind
from services.diffusion.adapters.factors import read as read_adapter
from services.diffusion.pipelines.directory import Architecture, read_directory
from services.finetune.recipes import dreambooth
from services.finetune.recipes.base import open_base
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.personal.models.opening import open_tunable
from services.finetune.recipes.watching import Alone
from tests.stopping import stopped_after
from tests.unit.diffusion.pipelines import tiny
from tests.unit.recipes.tiny_unet import drawn

OPTIONS = Options(
    steps=4,
    batch=2,
    prior_batch=1,
    prior_images=4,
    lora_rank=2,
    rate=0.05,
    warm_up=1,
    prompts="{}|{} with a hat",
    checkpoint_every=2,
    device="cpu",
)
PIPELINES = {"stable": tiny.stable, "stable_2": tiny.stable_2, "xl": tiny.xl, "flux": tiny.flux}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = tiny.saved(PIPELINES[kind](), tmp_path_factory.mktemp("hub") / kind)
        return made[kind]

    return make


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return dreambooth.read_folder(drawn(tmp_path_factory.mktemp("images") / "mine", 5), Alone().logged)


def options_for(kind, **more):
    return replace(OPTIONS, size=16 if kind == "flux" else 0, **more)


def tuned(folder, photos, home, options):
    base = open_base(folder, "", Kind.DIFFUSION)
    return dreambooth.train(
        photos, base, home / "work", home / "store/mine/1", options
    ), home / "store/mine/1"


@pytest.mark.parametrize("kind", PIPELINES)
def test_diffusers_loads_the_adapter_and_says_with_it_what_we_do(kind, folder_of, photos, tmp_path):
    options = options_for(kind)
    manifest, out = tuned(folder_of(kind), photos, tmp_path, options)
    assert (manifest.kind, manifest.family) == (Kind.ADAPTER, "lora")
    assert manifest.parent.startswith(f"{kind}:")
    assert [each["step"] for each in manifest.config["candidates"]] == [2, 4]

    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder_of(kind), local_files_only=True)
    network = pipeline.transformer if kind == "flux" else pipeline.unet
    plain = {name: each.clone() for name, each in network.state_dict().items()}
    pipeline.load_lora_weights(out)
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    factors = read_adapter("mine:1", "key", out).factors
    changed = {name for name, each in network.state_dict().items() if not torch.equal(each, plain[name])}
    assert changed == {f"{layer}.weight" for layer in factors}
    for layer, each in factors.items():
        added = network.state_dict()[f"{layer}.weight"] - plain[f"{layer}.weight"]
        np.testing.assert_allclose(added.numpy(), each.up @ each.down, atol=1e-5)


@pytest.mark.parametrize("kind", ["stable", "flux"])
def test_the_service_paints_with_the_adapter(kind, folder_of, photos, tmp_path):
    _, out = tuned(folder_of(kind), photos, tmp_path, options_for(kind))
    model = tiny.opened(folder_of(kind))
    adapter = read_adapter("mine:1", "key", out)
    model.adapters.check(adapter)
    place = model.adapters.take(adapter)
    scheduler = model.traits.scheduler
    plain, changed = (
        tiny.painted(model, tiny.Prompts("sks person"), 1, 3, scheduler, adapters=adapters)
        for adapters in ((), ((place, 1.0),))
    )
    assert np.abs(plain - changed).max() > 1e-3


@pytest.mark.parametrize("kind", ["stable", pytest.param("xl", marks=pytest.mark.slow)])
def test_the_whole_network_becomes_a_directory(kind, folder_of, photos, tmp_path):
    manifest, out = tuned(
        folder_of(kind), photos, tmp_path, options_for(kind, lora_rank=0, average=0.5, rate=1e-3)
    )
    assert (manifest.kind, manifest.family) == (Kind.DIFFUSION, "diffusers")
    assert read_directory(out).architecture in set(Architecture)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(out, local_files_only=True)
    before = diffusers.DiffusionPipeline.from_pretrained(folder_of(kind), local_files_only=True)
    for name, part in before.components.items():
        if isinstance(part, torch.nn.Module):
            own = getattr(pipeline, name).state_dict()
            same = all(torch.equal(each, own[key]) for key, each in part.state_dict().items())
            assert same is (name != "unet")


@pytest.mark.parametrize("kind", ["stable", pytest.param("flux", marks=pytest.mark.slow)])
def test_what_was_stopped_goes_on_to_the_same_weights(kind, folder_of, photos, tmp_path):
    options = options_for(kind, average=0.5)
    _, whole = tuned(folder_of(kind), photos, tmp_path / "whole", options)
    with stopped_after(3):
        tuned(folder_of(kind), photos, tmp_path / "parts", options)
    _, parts = tuned(folder_of(kind), photos, tmp_path / "parts", options)
    one, other = (load_file(each / "pytorch_lora_weights.safetensors") for each in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", PIPELINES)
def test_what_is_right_to_say_is_said_by_what_knows_the_picture(kind, folder_of):
    """From what should be said, the scheduler finds the very latents again."""
    model = open_tunable(open_base(folder_of(kind), "", Kind.DIFFUSION), options_for(kind))
    chance = torch.Generator().manual_seed(0)
    side = model.size // 2
    channels = 4
    clean, noise = (torch.randn((2, channels, side, side), generator=chance) for _ in range(2))
    level = torch.tensor([300, 700])
    told = model.told(["a person", "a hat"])
    said, goal = model.outcome(clean, noise, level, told)
    assert said.shape == goal.shape == clean.shape
    scheduler = tiny.opened(folder_of(kind)).levels
    noisy = _noisy(scheduler, clean, noise, level)
    for place, at in enumerate(level.tolist()):
        share = at / 1000
        squares = scheduler.signal_squares[at]
        signal, rest = (1 - share, share) if kind == "flux" else (squares**0.5, (1 - squares) ** 0.5)
        found = scheduler.prediction.clean(noisy[place].numpy(), goal[place].numpy(), signal, rest)
        np.testing.assert_allclose(found, clean[place].numpy(), atol=1e-4)


def _noisy(levels, clean, noise, level):
    if levels.prediction.value == "flow_prediction":
        share = (level / 1000)[:, None, None, None]
        return (1 - share) * clean + share * noise
    squares = torch.from_numpy(levels.signal_squares[level.numpy()]).float()[:, None, None, None]
    return squares.sqrt() * clean + (1 - squares).sqrt() * noise


@pytest.mark.parametrize("kind", ["stable", "flux"])
def test_layers_are_run_again_to_the_same_gradients(kind, folder_of):
    found = []
    for again in (False, True):
        options = options_for(kind, recompute=again)
        model = open_tunable(open_base(folder_of(kind), "", Kind.DIFFUSION), options)
        assert model.network.is_gradient_checkpointing is again
        chance = torch.Generator().manual_seed(0)
        side = model.size // 2
        clean, noise = (torch.randn((2, 4, side, side), generator=chance) for _ in range(2))
        said, goal = model.outcome(clean, noise, torch.tensor([100, 900]), model.told(["a", "b"]))
        (said - goal).square().mean().backward()
        found.append([each.grad.clone() for each in model.learned if each.grad is not None])
    assert len(found[0]) == len(found[1]) > 4
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("more", "said"),
    [({"size": 15}, "size is 15, a multiple of 2"), ({"clip": "nowhere"}, "clip: nowhere holds no")],
)
def test_what_cannot_be_done_is_said(more, said, folder_of, photos, tmp_path):
    with pytest.raises((ValueError, OSError), match=said):
        tuned(folder_of("stable"), photos, tmp_path, replace(OPTIONS, **more))
