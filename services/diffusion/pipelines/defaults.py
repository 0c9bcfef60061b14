"""What a pipeline does unless a request says otherwise: as diffusers' pipelines do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.diffusion.pipelines.directory import Architecture
from services.diffusion.schedulers.levels import Levels
from services.diffusion.schedulers.registry import SCHEDULERS

FLOW = frozenset({"flow_euler"})
_FLOW_CLASS = "FlowMatchEulerDiscreteScheduler"
_NAMES = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "LCMScheduler": "lcm",
}
_ELSE = "dpmpp_2m"
"""For schedulers that are not served, PNDM above all."""


@dataclass(frozen=True)
class Defaults:
    """Settings of a walk."""

    scheduler: str
    steps: int
    guidance: float
    schedulers: frozenset[str]


def defaults_of(architecture: Architecture, config: Mapping[str, Any], takes_guidance: bool) -> Defaults:
    """``config`` is the scheduler's; ``takes_guidance``: whether a Flux network was distilled with it."""
    if architecture is Architecture.FLUX:
        return Defaults("flow_euler", 28 if takes_guidance else 4, 3.5 if takes_guidance else 1.0, FLOW)
    name = _NAMES.get(str(config.get("_class_name")), _ELSE)
    if name == "dpmpp_2m" and config.get("use_karras_sigmas"):
        name = "dpmpp_2m_karras"
    guidance = 5.0 if architecture is Architecture.SDXL else 7.5
    return Defaults(name, 50, guidance, frozenset(SCHEDULERS) - FLOW)


def levels_of(architecture: Architecture, config: Mapping[str, Any]) -> Levels:
    """The levels of a pipeline's ``scheduler_config.json``. ValueError for a schedule that is not known."""
    kind = str(config.get("_class_name"))
    if (kind == _FLOW_CLASS) != (architecture is Architecture.FLUX) or kind.startswith("EDM"):
        raise ValueError(f"scheduler {kind} is not that of a {architecture.value} served here")
    if architecture is Architecture.FLUX:
        return Levels.of_config({**config, "prediction_type": "flow_prediction", "spacing_by_steps": True})
    changed: dict[str, Any] = {"clip_sample": False}  # latents are not between -1 and 1
    if architecture is Architecture.STABLE_DIFFUSION:
        changed |= {"steps_offset": 1}  # its pipeline corrects older settings, which had 0
    return Levels.of_config({**config, **changed})
