"""Pipelines of diffusers' format against diffusers' own: same seed, steps, guidance, scheduler."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

import diffusers  # noqa: E402

from services.diffusion.engine import Prompts, Question  # noqa: E402
from services.diffusion.painting.editing import begin_from, late_steps  # noqa: E402
from services.diffusion.painting.guidance import Guidance  # noqa: E402
from services.diffusion.painting.noise import START, torch_noise  # noqa: E402
from services.diffusion.painting.painting import Painting  # noqa: E402
from services.diffusion.schedulers.levels import Prediction  # noqa: E402
from services.diffusion.schedulers.registry import SCHEDULERS  # noqa: E402
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


def check_same(model, ours, latents, pixels, tolerance=1e-5):
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


def test_stable_diffusion_2_says_velocities(tmp_path):
    theirs, model, _ = pair(tiny.stable_2(), tmp_path)
    assert model.levels.prediction is Prediction.VELOCITY
    prompts = Prompts(tiny.PROMPT)
    check_same(model, tiny.painted(model, prompts, 3, 10, "ddim"), *theirs_of(theirs, prompts, 3, 10))


def test_other_sizes_and_no_guidance(stable):
    theirs, model, folder = stable
    theirs.scheduler = diffusers.DDIMScheduler.from_pretrained(
        folder, subfolder="scheduler", clip_sample=False
    )
    prompts = Prompts(tiny.PROMPT)
    expected = theirs_of(theirs, prompts, 5, 6, 1.0, (24, 8))
    check_same(model, tiny.painted(model, prompts, 5, 6, "ddim", 1.0, (24, 8)), *expected)


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(tiny.PROMPT),
        Prompts(tiny.PROMPT, tiny.NEGATIVE),
        Prompts(tiny.PROMPT, tiny.NEGATIVE, "round glasses", "a beard"),
    ],
    ids=["no-negative", "negative", "second"],
)
def test_sdxl_is_diffusers_own(tmp_path, zeros, prompts):
    theirs, model, _ = pair(tiny.xl(zeros), tmp_path)
    assert model.traits.second_prompt
    expected = theirs_of(theirs, prompts, 11, 8, size=(24, 16))
    check_same(model, tiny.painted(model, prompts, 11, 8, "euler", size=(24, 16)), *expected)


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
@pytest.mark.parametrize("second", ["", "round glasses"])
def test_flux_is_diffusers_own(tmp_path, guided, second):
    theirs, model, _ = pair(tiny.flux(guided), tmp_path)
    assert (model.traits.negative, model.traits.schedulers) == (False, {"flow_euler"})
    prompts = Prompts(tiny.PROMPT, second=second)
    more = {"max_sequence_length": 512 if guided else 256}
    size, steps = (40, 24), 4
    latents, pixels = theirs_of(theirs, prompts, 13, steps, 3.0, size, **more)
    unpacked = theirs._unpack_latents(latents, size[1], size[0], theirs.vae_scale_factor)
    made = tiny.painted(model, prompts, 13, steps, "flow_euler", 3.0, size)
    check_same(model, made, unpacked, pixels)


def test_an_image_begun_from_a_picture_is_diffusers_own(stable):
    theirs, model, folder = stable
    scheduler = diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler", clip_sample=False)
    other = diffusers.StableDiffusionImg2ImgPipeline(
        **theirs.components | {"scheduler": scheduler}, requires_safety_checker=False
    )
    other.set_progress_bar_config(disable=True)
    picture = np.random.default_rng(2).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    generator = torch.Generator("cpu").manual_seed(21)
    common = {"strength": 0.6, "guidance_scale": 1.0, "num_inference_steps": 10, "generator": generator}
    expected = other(tiny.PROMPT, image=Image.fromarray(picture), output_type="latent", **common).images
    path = late_steps(SCHEDULERS["ddim"].path(model.levels, 10), 0.6)
    noise = torch_noise(21, (4, 8, 8))
    noise(START)  # what the encoder drew
    x = begin_from(model.encode(picture, 21), path, noise(START))
    walk = SCHEDULERS["ddim"].walk(model.levels, path, x, noise)
    told = model.read(Prompts(tiny.PROMPT), 16, 16, 1.0).told
    (made,) = tiny.finished(model, Painting(walk, model.levels, 10, told, told, Guidance(1.0)))
    np.testing.assert_allclose(made, expected[0].numpy(), atol=1e-5 * np.abs(made).max())


@pytest.mark.parametrize("exact", [True, False])
def test_rows_of_a_call_say_what_each_says_alone(stable, exact):
    model = tiny.opened(stable[2], exact=exact)
    questions = []
    for number in range(4):
        sample = np.random.default_rng(number).standard_normal((4, 8, 8)).astype(np.float32)
        text = model.read(Prompts("abcd"[number] * 5), 16, 16, 1.0).told
        questions.append(Question(sample, 100.5 + 200 * number, text))
    together = model.denoiser.predict(questions)
    for question, row in zip(questions, together, strict=True):
        (alone,) = model.denoiser.predict([question])
        np.testing.assert_allclose(row, alone, atol=0 if exact else 1e-5)


def test_requests_of_many_kinds_share_calls(stable):
    _, model, _ = stable
    kinds = [
        (Prompts(tiny.PROMPT), 1, 6, "euler", 5.0),
        (Prompts("a hat"), 2, 4, "ddim", 1.0),
        (Prompts("a beard", "red"), 3, 5, "dpmpp_2m", 3.0),
        (Prompts(tiny.PROMPT, "glasses"), 4, 3, "heun", 7.0),
    ]
    alone = [tiny.painted(model, *kind) for kind in kinds]
    together = tiny.finished(model, *(tiny.begun(model, *kind) for kind in kinds))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)  # to the bit, on a CPU


def test_what_is_cut_off_a_long_text_is_told_as_it_was_written(stable):
    _, model, _ = stable
    prompt = "red " * 74 + "Red GLASSES, hat"
    reading = model.read(Prompts(prompt, "hat " * 90), 16, 16, 5.0)
    assert reading.cut == "GLASSES, hat"
    assert reading.cut_negative.endswith("hat hat")
    assert model.read(Prompts("red " * 75), 16, 16, 5.0).cut == ""


def test_a_long_text_is_read_as_diffusers_reads_it(stable):
    theirs, model, _ = stable
    prompt = "red hat " * 60
    expected, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
    read = model.read(Prompts(prompt), 16, 16, 1.0).told.inputs["encoder_hidden_states"]
    np.testing.assert_allclose(read, expected[0].detach().numpy(), atol=1e-6)


def test_rows_are_measured(stable):
    _, model, folder = stable
    assert model.denoiser.rows == 4
    measured = tiny.opened(folder, rows=0)
    assert measured.denoiser.rows in (1, 2, 4, 8)
    assert measured.denoiser.profile.seconds_per_row > 0
