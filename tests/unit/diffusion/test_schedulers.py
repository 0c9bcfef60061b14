"""Every scheduler against diffusers' own, with the same network, noise and settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.diffusion.schedulers.ddim import ddim, ddim_path
from services.diffusion.schedulers.flow import flow_path
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
COSINE = np.cos((np.arange(1001) / 1000 * 0.99 + 0.008) / 1.008 * np.pi / 2) ** 2  # not quite to pure noise
PIXELS = {"trained_betas": (1 - COSINE[1:] / COSINE[:-1]).tolist(), "prediction_type": "v_prediction"} | {
    "clip_sample": False
}
CONFIGS = {
    "stable": STABLE | {"set_alpha_to_one": False, "steps_offset": 1},
    "stable-2": STABLE | {"prediction_type": "v_prediction", "set_alpha_to_one": False, "steps_offset": 1},
    "pixels": PIXELS,
    "clipped": PIXELS | {"clip_sample": True},
    "zero-snr": STABLE
    | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    "clean": PIXELS | {"prediction_type": "sample"},
}
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
KNOWS_CLIPPING = {"ddpm", "ddim", "heun", "lcm"}
KNOWS_CLEAN = {"ddpm", "ddim", "euler", "dpmpp_2m", "dpmpp_2m_karras", "lcm"}
KNOWS_ZERO_SNR = {"ddpm", "ddim", "euler", "euler_ancestral", "dpmpp_2m", "lcm"}
KNOWN = {"clipped": KNOWS_CLIPPING, "clean": KNOWS_CLEAN, "zero-snr": KNOWS_ZERO_SNR}
"""Which of theirs can do what only some can."""
PAIRS = [(name, config) for name in THEIRS for config in CONFIGS if name in KNOWN.get(config, THEIRS)]
SHAPE = (4, 8, 8)


def network(sample, timestep):
    """Something smooth that depends on every input."""
    mixed = np.roll(sample, 1, axis=-1) * 0.4 + np.sin(sample * 1.7 + timestep / 300)
    return (0.6 * mixed).astype(np.float32)


def fresh(count):
    return np.random.default_rng(7).standard_normal((count, *SHAPE)).astype(np.float32)


def ours(name, config, steps, begin=0, start=None):
    levels = Levels.of_config(config)
    scheduler = SCHEDULERS[name]
    path = scheduler.path(levels, steps).late(begin)
    noises = fresh(steps + 1)
    x = noises[-1] * np.float32(path.start) if start is None else start(path, noises[-1])
    return walked(scheduler.walk(levels, path, x, lambda step: noises[step]))


def walked(walk):
    """Where a walk ends, and the timesteps that it asked about."""
    call, asked = next(walk), []
    while True:
        asked.append(call.timestep)
        try:
            call = walk.send(network(call.sample, call.timestep))
        except StopIteration as done:
            return done.value, asked


def theirs(name, config, steps, monkeypatch, **more):
    kind, extra = THEIRS[name]
    scheduler = getattr(diffusers, kind).from_config(config | extra)
    scheduler.set_timesteps(steps)
    noises, drawn = fresh(steps + 1), []

    def randn(*_, **__):
        drawn.append(0)
        return torch.from_numpy(noises[len(drawn) - 1])[None]

    for module in ("ddpm", "ddim", "euler_ancestral_discrete", "lcm"):
        monkeypatch.setattr(f"diffusers.schedulers.scheduling_{module}.randn_tensor", randn)
    x = torch.from_numpy(noises[-1])[None] * scheduler.init_noise_sigma
    asked = []
    for timestep in scheduler.timesteps:
        asked.append(float(timestep))
        said = network(scheduler.scale_model_input(x, timestep)[0].numpy(), float(timestep))
        x = scheduler.step(torch.from_numpy(said)[None], timestep, x, **more).prev_sample
    return x[0].numpy(), asked


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 20, 50])
@pytest.mark.parametrize(("name", "config"), PAIRS)
def test_a_walk_is_diffusers_own(name, config, steps, monkeypatch):
    expected, asked = theirs(name, CONFIGS[config], steps, monkeypatch)
    made, our_asked = ours(name, CONFIGS[config], steps)
    np.testing.assert_allclose(our_asked, asked, atol=1e-2)
    np.testing.assert_allclose(made, expected, atol=5e-3 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("config", ["stable", "pixels", "clipped"])
def test_fresh_noise_in_ddim_is_diffusers_own(config, eta, monkeypatch):
    expected, _ = theirs("ddim", CONFIGS[config], 20, monkeypatch, eta=eta)
    levels = Levels.of_config(CONFIGS[config])
    noises = fresh(21)
    made, _ = walked(ddim(levels, ddim_path(levels, 20), noises[-1], lambda step: noises[step], eta))
    plain, _ = ours("ddim", CONFIGS[config], 20)
    np.testing.assert_allclose(made, expected, atol=5e-3 * max(1.0, np.abs(expected).max()))
    assert np.abs(made - plain).mean() > 0.01


def test_more_steps_than_a_distilled_model_knows_are_refused():
    with pytest.raises(ValueError, match="steps is 51, at most 50 for this model"):
        SCHEDULERS["lcm"].path(Levels.of_config(STABLE), 51)


def test_an_unknown_spacing_is_named():
    levels = Levels.of_config(STABLE | {"timestep_spacing": "wide"})
    for name in ("ddim", "euler", "dpmpp_2m"):
        with pytest.raises(ValueError, match="timestep_spacing 'wide' is none of"):
            SCHEDULERS[name].path(levels, 5)


@pytest.mark.parametrize("steps", [1, 4, 28])
@pytest.mark.parametrize(
    "config", [{}, {"shift": 3.0}, {"shift": 3.0, "spacing_by_steps": True}, {"use_dynamic_shifting": True}]
)
def test_a_flow_is_diffusers_own(config, steps):
    flow = {"prediction_type": "flow_prediction"} | config
    tokens = 1024
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_config(config)
    if config.get("use_dynamic_shifting") or config.get("spacing_by_steps"):
        mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)  # as the Flux pipeline does
    else:
        scheduler.set_timesteps(steps)
    noise = fresh(1)[0]
    expected = torch.from_numpy(noise)[None]
    for timestep in scheduler.timesteps:
        said = network(expected[0].numpy(), float(timestep))
        expected = scheduler.step(torch.from_numpy(said)[None], timestep, expected).prev_sample
    levels = Levels.of_config(flow).sized(tokens)
    path = flow_path(levels, steps)
    np.testing.assert_allclose(path.timesteps, scheduler.timesteps.numpy(), atol=1e-2)
    made, _ = walked(SCHEDULERS["flow_euler"].walk(levels, path, noise, lambda _: noise))
    np.testing.assert_allclose(made, expected[0].numpy(), atol=1e-3)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("rescaled", [False, True])
def test_levels_are_diffusers_own(schedule, rescaled):
    config = {"beta_schedule": schedule, "rescale_betas_zero_snr": rescaled}
    theirs_ = diffusers.EulerDiscreteScheduler.from_config(config).alphas_cumprod.numpy()
    np.testing.assert_allclose(Levels.of_config(config).signal_squares, theirs_, rtol=2e-3, atol=1e-7)


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="beta_schedule 'sigmoid' is none of"):
        Levels.of_config({"beta_schedule": "sigmoid"})
