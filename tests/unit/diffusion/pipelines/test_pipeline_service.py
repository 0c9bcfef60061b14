"""Directories of diffusers' format through the service: images, masks, adapters, ladders, refusals."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
import pytest_asyncio

from pequod.diffusion import v1
from tests.unit.diffusion.pipelines import tiny
from tests.unit.diffusion.service import diffusion_service, generate, images_of, pixels_of, png
from tests.unit.serving import refused

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers'
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def models(home):
    """References of a tiny pipeline of each architecture."""
    makers = {"stable": tiny.stable, "xl": tiny.xl, "flux": tiny.flux}
    return {name: f"file:{tiny.saved(make(), home / name)}" for name, make in makers.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(home, models):
    async with diffusion_service(home, preload=(), rows=4, default_model=models["stable"]) as (stub, _):
        yield stub


@pytest.mark.parametrize("name", ["stable", "xl", pytest.param("flux", marks=pytest.mark.slow)])
async def test_a_pipeline_paints_the_same_alone_and_in_company(stub, models, name):
    kinds = [{"seed": seed, "steps": 2 + seed % 2, "prompt": "a whale"} for seed in range(4)]
    alone = [images_of(await generate(stub, model=models[name], **kind))[0] for kind in kinds]
    asked = [generate(stub, model=models[name], **kind) for kind in kinds]
    together = [images_of(events)[0] for events in await asyncio.gather(*asked)]
    assert [each.image.data for each in together] == [each.image.data for each in alone]
    assert alone[0].settings["model"].startswith(models[name])


async def test_pixels_outside_a_mask_are_those_that_were_sent_also_through_a_decoder(stub):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:9, 3:12] = 255
    (made,) = images_of(await generate(stub, init_image=png(picture), mask=png(mask), steps=3))
    painted = pixels_of(made.image)
    np.testing.assert_array_equal(painted[mask == 0], picture[mask == 0])
    assert (painted[mask > 0] != picture[mask > 0]).any()


@pytest.mark.parametrize("name", ["stable", pytest.param("flux", marks=pytest.mark.slow)])
async def test_a_ladder_of_latents(stub, models, name):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    reply = await stub.NoiseLadder(
        v1.NoiseLadderRequest(model=models[name], image=png(picture), rungs=3, seed=1)
    )
    assert len({each.noisy.width for each in reply.rungs}) == 1
    assert reply.rungs[2].noise > reply.rungs[1].noise > 0


async def test_what_an_architecture_cannot_do_is_refused(stub, models):
    code, message, field = await refused(generate(stub, model=models["flux"], negative_prompt="a whale"))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "negative_prompt")
    assert "guidance in itself" in message
    _, message, field = await refused(generate(stub, model=models["flux"], scheduler=v1.SCHEDULER_DDIM))
    assert (field, "flow_euler" in message) == ("scheduler", True)
    _, message, field = await refused(generate(stub, width=17))
    assert (field, "a multiple of" in message) == ("width", True)
    await generate(stub, model=models["xl"], prompt_2="a ship", negative_prompt_2="a whale")
