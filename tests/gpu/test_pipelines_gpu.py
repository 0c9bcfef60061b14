"""Pipelines of diffusers' format on CUDA: near the CPU's latents in every precision, wherever parts wait."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from services.diffusion.engine import Prompts
from services.diffusion.pipelines.opening import open_pipeline
from services.diffusion.pipelines.placement import Placement
from tests.unit.diffusion.pipelines import tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers'
]
MAKERS = {"stable": tiny.stable, "xl": tiny.xl, "flux": tiny.flux}
TOLERANCE = {"fp32": 0.01, "fp16": 0.03, "bf16": 0.1, "auto": 0.1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no CUDA device")
    root = tmp_path_factory.mktemp("pipelines")
    return {name: tiny.saved(make(), root / name) for name, make in MAKERS.items()}


def painted(model, name):
    scheduler = "flow_euler" if name == "flux" else "ddim"
    return tiny.painted(model, Prompts(tiny.PROMPT, tiny.NEGATIVE), 3, 4, scheduler, 3.0)


@pytest.mark.parametrize(
    ("precision", "offload"), [(each, "none") for each in TOLERANCE] + [("fp32", "text"), ("fp32", "all")]
)
@pytest.mark.parametrize("name", MAKERS)
def test_a_pipeline_paints_on_cuda_what_it_paints_on_the_cpu(folders, name, precision, offload):
    placement = Placement(device="cuda", precision=precision, offload=offload, ranks=16)
    model = open_pipeline(folders[name], placement, "tiny")
    expected = painted(tiny.opened(folders[name]), name)
    made = painted(model, name)
    np.testing.assert_allclose(made, expected, atol=TOLERANCE[precision] * np.abs(expected).max())
    assert model.decode(made).shape == (16, 16, 3)
    assert model.denoiser.rows in (1, 2, 4, 8)
    assert offload == "all" or model.denoiser.is_recorded, "its calls could not be recorded"
    if offload == "none":
        assert torch.cuda.memory_allocated() > 0
