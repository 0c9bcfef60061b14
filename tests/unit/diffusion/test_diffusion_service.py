"""The diffusion service on the shipped models: events, editing, adapters, ranking, ladders, refusals."""

from __future__ import annotations

import asyncio
import json
import math
from io import BytesIO

import grpc
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from pequod.common.v1 import ImageFormat
from pequod.diffusion import v1
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.unit.diffusion.service import (
    diffusion_service,
    generate,
    images_of,
    pixels_of,
    png,
    write_adapter,
)
from tests.unit.serving import refused

SIZE = 32
NAMED = [each for each in v1.Scheduler.values() if each not in {0, v1.SCHEDULER_FLOW_EULER}]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("diffusion")


@pytest.fixture(scope="module")
def adapters(home):
    """References of three adapters: two that fit, one for another model."""
    return {
        "bold": write_adapter(home / "bold", 1),
        "odd": write_adapter(home / "odd", 2, rank=16, only="places"),
        "foreign": write_adapter(home / "foreign", 3, wrong="other."),
        "wide": write_adapter(home / "wide", 4, rank=40),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(home):
    async with diffusion_service(home, rows=4) as running:
        yield running


@pytest.fixture(scope="module")
def stub(service):
    return service[0]


@pytest.fixture(scope="module")
def drawings():
    return Peeps(HELD_OUT_FOLDER).at(SIZE)


def distance(image, pixels):
    """Mean difference of bytes."""
    return np.abs(pixels_of(image).astype(int) - pixels).mean()


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_request_is_told_everything_in_order(stub):
    events = await generate(stub, n=2, steps=4, preview_every=2, guidance_scale=2.0)
    kinds = [each.WhichOneof("event") for each in events]
    assert (kinds[0], kinds[-1]) == ("queued", "done")
    steps = [each.step for each in events if each.WhichOneof("event") == "step"]
    assert [(each.index, each.step, each.steps) for each in steps if each.index == 1] == [
        (1, 1, 4),
        (1, 2, 4),
        (1, 3, 4),
        (1, 4, 4),
    ]
    previews = [each.preview for each in steps if each.HasField("preview")]
    assert {(each.width, each.format) for each in previews} == {(SIZE, ImageFormat.IMAGE_FORMAT_WEBP)}
    assert sorted(each.seed for each in images_of(events)) == [5, 6]
    done = events[-1]
    assert (done.done.images, done.done.network_calls, done.usage.model) == (2, 8, "peeps-diffusion")
    assert done.usage.batch_rows == 4
    assert 2 <= done.done.mean_rows <= 4
    assert done.done.denoise_ms > 0 < done.done.encode_ms


async def test_a_png_says_what_it_was_made_with_and_that_makes_it_again(stub):
    (made,) = images_of(await generate(stub, negative_prompt="glasses", scheduler=v1.SCHEDULER_EULER))
    noted = json.loads(Image.open(BytesIO(made.image.data)).text["pequod"])
    assert noted == dict(made.settings)
    assert noted["model"] == "peeps-diffusion:1"
    again = v1.GenerateRequest(
        model=noted["model"],
        prompt=noted["prompt"],
        negative_prompt=noted["negative_prompt"],
        seed=int(noted["seed"]),
        steps=int(noted["steps"]),
        guidance_scale=noted["guidance_scale"],
        scheduler=v1.Scheduler.Value(f"SCHEDULER_{noted['scheduler'].upper()}"),
    )
    (copy,) = images_of([event async for event in stub.Generate(again)])
    assert copy.image.data == made.image.data


@pytest.mark.parametrize("scheduler", NAMED, ids=v1.Scheduler.Name)
async def test_every_scheduler_paints(stub, scheduler):
    (one,) = images_of(await generate(stub, scheduler=scheduler, steps=4))
    assert one.image.width == SIZE
    assert pixels_of(one.image).std() > 20


async def test_fresh_noise_in_ddim_is_another_image(stub):
    plain, fresh = [
        images_of(await generate(stub, scheduler=v1.SCHEDULER_DDIM, steps=4, eta=eta))[0].image.data
        for eta in (0.0, 1.0)
    ]
    assert plain != fresh


async def test_noise_of_torch_is_other_noise(stub):
    philox, torch, again = [
        images_of(await generate(stub, rng=rng))[0].image.data
        for rng in (v1.NOISE_SOURCE_PHILOX, v1.NOISE_SOURCE_TORCH, v1.NOISE_SOURCE_TORCH)
    ]
    assert philox != torch == again


async def test_image_i_has_seed_plus_i(stub):
    both = images_of(await generate(stub, n=2, seed=2**64 - 1))
    assert sorted(each.seed for each in both) == [0, 2**64 - 1]
    (alone,) = images_of(await generate(stub, seed=0))
    assert next(each for each in both if each.seed == 0).image.data == alone.image.data


async def test_a_seed_is_drawn_where_none_is_given(stub):
    drawn = [
        images_of([event async for event in stub.Generate(v1.GenerateRequest(steps=1))])[0] for _ in "ab"
    ]
    assert drawn[0].seed != drawn[1].seed
    assert drawn[0].image.data != drawn[1].image.data


async def test_the_less_strength_the_nearer_to_the_picture(stub, drawings):
    far = []
    for strength in (0.1, 0.4, 1.0):
        events = await generate(stub, init_image=png(drawings[0]), strength=strength, steps=10)
        (made,) = images_of(events)
        steps = [each.step for each in events if each.WhichOneof("event") == "step"]
        assert (steps[-1].step, steps[-1].steps) == (10 * strength, 10 * strength)
        far.append(distance(made.image, drawings[0]))
    assert far == sorted(far)
    assert far[0] < 8


@pytest.mark.parametrize("scheduler", NAMED, ids=v1.Scheduler.Name)
async def test_pixels_outside_the_mask_are_those_that_were_sent(stub, drawings, scheduler):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[4:20, 8:26] = 255
    request = {"init_image": png(drawings[1]), "mask": png(mask), "scheduler": scheduler, "steps": 5}
    (made,) = images_of(await generate(stub, **request))
    painted = pixels_of(made.image)
    np.testing.assert_array_equal(painted[mask == 0], drawings[1][mask == 0])
    assert (painted[mask > 0] != drawings[1][mask > 0]).mean() > 0.3


async def test_a_large_picture_and_its_mask_are_brought_to_size(stub):
    large = Peeps(HELD_OUT_FOLDER).images[2]
    mask = np.zeros((128, 128), np.uint8)
    mask[:64] = 255
    (made,) = images_of(await generate(stub, init_image=png(large), mask=png(mask), steps=3))
    resized = np.asarray(Image.fromarray(large).resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(pixels_of(made.image)[16:], resized[16:])


async def test_adapters_change_images_each_its_own(stub, adapters):
    def using(**scales):
        return [v1.AdapterScale(adapter=adapters[name], scale=scale) for name, scale in scales.items()]

    kinds = [{}, {"bold": 1.0}, {"odd": 1.0}, {"bold": 1.0, "odd": 0.5}, {"bold": 0.0}, {"bold": -1.0}]
    asked = [generate(stub, adapters=using(**scales), steps=3) for scales in kinds]
    together = [images_of(events)[0].image for events in await asyncio.gather(*asked)]
    alone = [images_of(await generate(stub, adapters=using(**each), steps=3))[0].image for each in kinds]
    assert [each.data for each in together] == [each.data for each in alone]
    different = {pixels_of(each).tobytes() for each in alone}
    assert len(different) == len(kinds) - 1  # scale 0 changes nothing
    np.testing.assert_array_equal(pixels_of(alone[0]), pixels_of(alone[4]))


async def test_more_adapters_than_there_is_room_for_take_turns(stub, service, adapters, home):
    many = [write_adapter(home / f"many-{number}", 10 + number, rank=16) for number in range(5)]
    asked = [generate(stub, adapters=[v1.AdapterScale(adapter=each)], steps=3) for each in many]
    together = [images_of(events)[0].image.data for events in await asyncio.gather(*asked)]
    assert len(set(together)) == len(many)
    uses = service[1].registry.get_sample_value("pequod_adapter_uses_total", {"outcome": "miss"})
    assert uses >= 5


async def test_the_best_of_many_by_the_text_image_embedder(stub):
    events = await generate(stub, prompt="a person with a blue background", n=2, best_of=6, steps=8)
    best = images_of(events)
    assert [each.index for each in best] == [0, 1]
    assert best[0].score >= best[1].score
    every = images_of(await generate(stub, prompt="a person with a blue background", n=6, best_of=6, steps=8))
    assert [each.seed for each in every[:2]] == [each.seed for each in best]
    assert len({each.seed for each in every}) == 6


async def test_larger_images(stub):
    for factor in (2, 4):
        (made,) = images_of(await generate(stub, upscale_factor=factor))
        assert (made.image.width, made.image.height) == (SIZE * factor, SIZE * factor)
        assert pixels_of(made.image).shape == (SIZE * factor, SIZE * factor, 3)


async def test_upscaling_a_picture_is_nearer_to_its_drawing_than_bicubic(stub):
    large = Peeps(HELD_OUT_FOLDER).images[3]
    small = np.asarray(Image.fromarray(large).resize((64, 64), Image.Resampling.BOX))
    reply = await stub.Upscale(v1.UpscaleRequest(image=png(small), factor=2))
    bicubic = np.asarray(Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC))
    ours, theirs = (
        np.square(made.astype(float) - large).mean() for made in (pixels_of(reply.image), bicubic)
    )
    assert ours < theirs / 2
    assert reply.usage.model == "peeps-upscaler"


async def test_large_pictures_are_enlarged_in_tiles_that_show_no_seam(stub):
    large = np.tile(Peeps(HELD_OUT_FOLDER).images[4], (3, 3, 1))
    reply = await stub.Upscale(v1.UpscaleRequest(image=png(large)))
    corner = await stub.Upscale(v1.UpscaleRequest(image=png(large[:128, :128])))
    np.testing.assert_array_equal(pixels_of(reply.image)[:200, :200], pixels_of(corner.image)[:200, :200])


async def test_the_noise_ladder_rises_and_steps_back(stub, drawings):
    reply = await stub.NoiseLadder(
        v1.NoiseLadderRequest(image=png(drawings[5]), rungs=6, seed=3, prompt="a person", guidance_scale=2.0)
    )
    assert reply.levels == 1001
    levels = [each.level for each in reply.rungs]
    assert (levels[0], levels[-1], levels) == (0, 1000, sorted(levels))
    np.testing.assert_array_equal(pixels_of(reply.rungs[0].noisy), drawings[5])
    assert not reply.rungs[0].HasField("step_back")
    for lower, upper in zip(reply.rungs, reply.rungs[1:], strict=False):
        assert upper.noise > lower.noise
        assert upper.signal**2 + upper.noise**2 == pytest.approx(1)
        clean = [
            np.abs(pixels_of(each).astype(int) - drawings[5]).mean()
            for each in (upper.predicted, upper.noisy)
        ]
        assert clean[0] < clean[1]
    low = reply.rungs[1]
    assert distance(low.predicted, drawings[5]) < 12


async def test_a_ladder_of_levels_that_are_named(stub, drawings):
    reply = await stub.NoiseLadder(
        v1.NoiseLadderRequest(image=png(drawings[5]), levels=[900, 100, 100], seed=3)
    )
    assert [each.level for each in reply.rungs] == [100, 900]
    code, _, field = await refused(
        stub.NoiseLadder(v1.NoiseLadderRequest(image=png(drawings[5]), levels=[1001]))
    )
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "levels")


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"steps": 0}, "steps", "1..1000, got 0"),
        ({"steps": 10_000}, "steps", "1..1000, got 10000"),
        ({"steps": 51, "scheduler": v1.SCHEDULER_LCM}, "steps", "steps is 51, at most 50"),
        ({"scheduler": 77}, "scheduler", "77 is no value"),
        ({"scheduler": v1.SCHEDULER_FLOW_EULER}, "scheduler", "flow_euler does not fit this model; these do"),
        ({"width": 33}, "width", "must be 32"),
        ({"height": 4096}, "height", "must be 32"),
        ({"guidance_scale": math.nan}, "guidance_scale", "0..50, got nan"),
        ({"guidance_scale": 51.0}, "guidance_scale", "0..50, got 51"),
        ({"guidance_end": 0.2, "guidance_start": 0.4}, "guidance_end", "0.4..1, got 0.2"),
        ({"eta": 0.5}, "eta", "is for scheduler ddim, the request has dpmpp_2m"),
        ({"n": 17}, "n", "1..16, got 17"),
        ({"n": 3, "best_of": 2}, "best_of", "3..64, got 2"),
        ({"upscale_factor": 3}, "upscale_factor", "one of 1, 2, 4, got 3"),
        ({"strength": 0.5}, "strength", "needs init_image"),
        ({"prompt": "x" * 20_000}, "prompt", "20000 bytes, at most 16384"),
        ({"prompt_2": "x"}, "prompt_2", "one text encoder"),
        ({"output_format": 9}, "output_format", "9 is no value"),
        ({"model": "peeps-upscaler"}, "model", "peeps-upscaler:1 is of kind upscaler, no model of images"),
        ({"upscaler": "peeps-diffusion", "upscale_factor": 2}, "upscaler", "no upscaler"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(stub, fields, field, said):
    code, message, named = await refused(generate(stub, **fields))
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert said in message


async def test_adapters_for_another_model_are_refused_with_both_names(stub, adapters):
    code, message, field = await refused(
        generate(stub, adapters=[v1.AdapterScale(adapter=adapters["foreign"])])
    )
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "adapters")
    assert "foreign" in message
    assert "peeps-diffusion:1" in message
    _, message, _ = await refused(generate(stub, adapters=[v1.AdapterScale(adapter=adapters["wide"])]))
    assert "its rank is 40, at most 32" in message
    _, message, field = await refused(generate(stub, adapters=[v1.AdapterScale(adapter="peeps-upscaler")]))
    assert (message, field) == (
        "adapters[0].adapter: peeps-upscaler:1 is no adapter",
        "adapters[0].adapter",
    )


async def test_a_prompt_that_is_too_long_is_cut_and_said_so_or_refused(stub):
    long = "a smiling person with red hair, " + "striped shirt, " * 30 + "blue background"
    events = await generate(stub, prompt=long)
    assert events[0].queued.truncated_prompt.endswith("blue background")
    assert long.endswith(events[0].queued.truncated_prompt)
    code, message, field = await refused(generate(stub, prompt=long, overflow=v1.PROMPT_OVERFLOW_REFUSE))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "prompt")
    assert "blue background" in message


async def test_bad_pictures_are_refused_and_others_go_on(stub, drawings):
    going_on = asyncio.create_task(generate(stub, steps=30))
    mask = png(np.zeros((16, 16), np.uint8))
    code, message, field = await refused(generate(stub, init_image=png(drawings[0]), mask=mask))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "mask")
    assert "16 x 16 pixels, init_image is 32 x 32" in message
    broken = png(drawings[0])
    broken.data = broken.data[: len(broken.data) // 2]
    _, _, field = await refused(generate(stub, init_image=broken))
    assert field == "init_image"
    _, _, field = await refused(stub.Upscale(v1.UpscaleRequest()))
    assert field == "image"
    assert len(images_of(await going_on)) == 1


async def test_the_metrics_of_a_run(service):
    stub, metrics = service
    sample = metrics.registry.get_sample_value
    before = sample("pequod_images_generated_total", {"model": "peeps-diffusion"}) or 0
    await generate(stub, n=2)
    assert sample("pequod_images_generated_total", {"model": "peeps-diffusion"}) == before + 2
    assert sample("pequod_compute_seconds_count", {"model": "peeps-diffusion"}) > 0
    assert sample("pequod_batch_rows_sum", {"service": "diffusion"}) > 0
    assert sample("pequod_active_rows", {"service": "diffusion"}) == 0
    call = stub.Generate(v1.GenerateRequest(steps=500))
    await anext(aiter(call))
    call.cancel()
    while not sample("pequod_images_cancelled_total", {"model": "peeps-diffusion"}):
        await asyncio.sleep(0.01)
