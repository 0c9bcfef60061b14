"""Every scheduler by its name: the levels it walks through, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.diffusion.schedulers.ddim import ddim, ddim_path, ddpm, ddpm_path
from services.diffusion.schedulers.dpmpp import dpmpp_2m, dpmpp_karras_path, dpmpp_path
from services.diffusion.schedulers.euler import euler, euler_ancestral, euler_path, heun
from services.diffusion.schedulers.flow import flow_euler, flow_path
from services.diffusion.schedulers.lcm import lcm, lcm_path
from services.diffusion.schedulers.levels import Array, Levels
from services.diffusion.schedulers.walk import Noise, Path, Walk


@dataclass(frozen=True)
class Scheduler:
    """How pictures are walked from noise."""

    path: Callable[[Levels, int], Path]
    walk: Callable[[Levels, Path, Array, Noise], Walk]


SCHEDULERS = {
    "ddpm": Scheduler(ddpm_path, ddpm),
    "ddim": Scheduler(ddim_path, ddim),
    "euler": Scheduler(euler_path, euler),
    "euler_ancestral": Scheduler(euler_path, euler_ancestral),
    "heun": Scheduler(euler_path, heun),
    "dpmpp_2m": Scheduler(dpmpp_path, dpmpp_2m),
    "dpmpp_2m_karras": Scheduler(dpmpp_karras_path, dpmpp_2m),
    "lcm": Scheduler(lcm_path, lcm),
    "flow_euler": Scheduler(flow_path, flow_euler),
}
