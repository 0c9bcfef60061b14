"""Pipelines of diffusers' format against diffusers' own: same seed, steps, guidance, scheduler."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

import diffusers  # noqa: E402

from services.diffusion.engine import Prompts  # noqa: E402
from tests.unit.diffusion.pipelines import tiny  # noqa: E402

THEIRS = {
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "lcm": ("LCMScheduler", {}),
}


def pair(theirs, folder):
    tiny.saved(theirs, folder)
    return theirs, tiny.opened(folder), folder


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    """(diffusers' own, ours, their folder)."""
    return pair(tiny.stable(), tmp_path_factory.mktemp("stable"))


def theirs_of(pipeline, prompts, seed, steps, guidance=5.0, size=(16, 16), **more):
    """(latents, pixels) of diffusers' pipeline."""
    if prompts.negative:
        more |= {"negative_prompt": prompts.negative}
    if prompts.second:
        more |= {"prompt_2": prompts.second}
    if prompts.negative_second:
        more |= {"negative_prompt_2": prompts.negative_second}
    common = {"guidance_scale": guidance, "num_inference_steps": steps, "width": size[0], "height": size[1]}

    def made(output):
        generator = torch.Generator("cpu").manual_seed(seed)
        return pipeline(prompts.prompt, generator=generator, output_type=output, **common, **more).images

    return made("latent"), (made("np")[0] * 255).round().astype(np.uint8)


def check_same(model, ours, latents, pixels, tolerance=2e-3):
    np.testing.assert_allclose(ours, latents[0].numpy(), atol=tolerance * max(1.0, np.abs(ours).max()))
    difference = np.abs(model.decode(ours).astype(int) - pixels)
    assert difference.max() <= 1
    assert np.abs(ours).std() > 0.01


@pytest.mark.parametrize("name", THEIRS)
def test_stable_diffusion_is_diffusers_own(stable, name, monkeypatch):
    theirs, model, folder = stable
    kind, extra = THEIRS[name]
    scheduler = getattr(diffusers, kind).from_pretrained(
        folder, subfolder="scheduler", clip_sample=False, **extra
    )
    monkeypatch.setattr(theirs, "scheduler", scheduler)
    prompts = Prompts(tiny.PROMPT, tiny.NEGATIVE)
    expected = theirs_of(theirs, prompts, 7, 10)
    check_same(model, tiny.painted(model, prompts, 7, 10, name), *expected)
