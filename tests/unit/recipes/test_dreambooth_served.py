"""What recipe dreambooth leaves, the diffusion service serves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pequod.diffusion import v1
from services.common.store import Kind
from services.finetune.recipes import dreambooth
from services.finetune.recipes.base import open_base
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.watching import Alone
from tests.unit.diffusion.service import diffusion_service, generate, images_of, pixels_of
from tests.unit.recipes.tiny_unet import drawn, tiny_unet

# Two versions are exported, which takes minutes where many share the cores.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

OPTIONS = Options(
    steps=6, batch=2, prior_batch=1, prior_images=4, rate=0.05, warm_up=1, checkpoint_every=6, device="cpu"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """With a store of a tiny model, an adapter of it, and the whole model tuned."""
    home = tmp_path_factory.mktemp("served")
    photos = dreambooth.read_folder(drawn(home / "images", 2), Alone().logged)
    base = open_base(tiny_unet(home / "user/tiny/1"), "", Kind.DIFFUSION)
    for name, options in {"factors": OPTIONS, "whole": replace(OPTIONS, lora_rank=0, rate=0.01)}.items():
        # Steps as large as these may ruin the class, which a veto says: any candidate will do here.
        dreambooth.train(photos, base, home / "work" / name, home / "user" / name / "1", options, pick=6)
    return home


async def test_it_paints_with_the_adapter_and_with_the_whole_model(home):
    kinds = [
        {"model": "tiny:1"},
        {"model": "tiny:1", "adapters": [v1.AdapterScale(adapter="factors:1", scale=1.0)]},
        {"model": "tiny:1", "adapters": [v1.AdapterScale(adapter="factors:1", scale=0.0)]},
        {"model": "whole:1"},
    ]
    painted = []
    async with diffusion_service(home, preload=()) as (stub, _):
        for more in kinds:
            events = await generate(stub, prompt="sks person", seed=1, steps=4, **more)
            painted.append(pixels_of(images_of(events)[0].image).astype(int))
    plain, tuned, off, whole = painted
    assert np.abs(plain - tuned).mean() > 1
    assert np.abs(plain - whole).mean() > 1
    np.testing.assert_array_equal(plain, off)
