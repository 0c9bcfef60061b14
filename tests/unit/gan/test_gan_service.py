"""The GAN service on tiny models: every RPC, and what goes together."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from pequod.common.v1 import Image as ImageMessage
from pequod.common.v1 import ImageFormat
from pequod.gan import v1
from tests.unit.gan.gan_calls import one, seed
from tests.unit.gan.gan_models import SCORES, STYLEGAN, TRAINING

SIZE, LAYERS, WIDTH = 16, len(STYLEGAN.sides), STYLEGAN.width

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB"))


def settings_of(image):
    return json.loads(Image.open(io.BytesIO(image.data)).text["pequod"])


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return ImageMessage(data=file.getvalue())


def matrix(code):
    return np.array(code.values).reshape(code.layers, code.dimensions)


async def walk(stub, **fields):
    request = v1.InterpolateRequest(**{"stops": [seed(1), seed(2)], "frames": 5, **fields})
    return [each async for each in stub.Interpolate(request)]


async def test_seeds_are_returned_in_their_order_with_usage(stub):
    reply = await stub.Sample(v1.SampleRequest(seeds=[3, 1, 3]))
    assert [each.seed for each in reply.images] == [3, 1, 3]
    assert reply.images[0] == reply.images[2]
    assert reply.images[0].image.data != reply.images[1].image.data
    image = reply.images[0].image
    assert (image.width, image.height, image.format) == (SIZE, SIZE, ImageFormat.IMAGE_FORMAT_PNG)
    assert not reply.images[0].HasField("code")
    assert (reply.usage.model, reply.usage.version) == ("tiny-gan", "1")
    assert reply.usage.compute_ms > 0


async def test_drawn_seeds_make_the_same_images_again(stub):
    drawn = await stub.Sample(v1.SampleRequest(n=4))
    assert len({each.seed for each in drawn.images}) == 4
    again = await stub.Sample(v1.SampleRequest(seeds=[each.seed for each in drawn.images]))
    assert list(again.images) == list(drawn.images)


async def test_a_png_holds_what_it_was_made_with(stub):
    made = await one(stub, 7, truncation_psi=0.5, attributes={"glasses": "none"}, noise_seed=9)
    noted = settings_of(made.image)
    expected = {
        "model": "tiny-gan:1",
        "seed": "7",
        "truncation_psi": 0.5,
        "attributes": {"glasses": "none"},
        "noise_seed": "9",
        "noise_strength": 1.0,
    }
    assert {name: noted[name] for name in expected} == expected


async def test_a_grid_holds_the_singles(stub):
    seeds = [1, 2, 3, 4, 5]
    singles = (await stub.Sample(v1.SampleRequest(seeds=seeds))).images
    reply = await stub.Sample(v1.SampleRequest(seeds=seeds, layout=v1.LAYOUT_GRID))
    assert (reply.grid.width, reply.grid.height, reply.grid_columns) == (3 * SIZE, 2 * SIZE, 3)
    assert [each.seed for each in reply.images] == seeds
    assert not any(each.HasField("image") for each in reply.images)
    whole = pixels(reply.grid)
    for place, each in enumerate(singles):
        top, left = place // 3 * SIZE, place % 3 * SIZE
        assert np.array_equal(whole[top : top + SIZE, left : left + SIZE], pixels(each.image))


async def test_truncation_moves_codes_in_proportion(stub):
    codes = {psi: matrix((await one(stub, truncation_psi=psi)).code) for psi in (0.0, 0.5, 1.0, -1.0)}
    np.testing.assert_allclose(codes[0.5], (codes[0.0] + codes[1.0]) / 2, atol=1e-6)
    np.testing.assert_allclose(codes[-1.0], 2 * codes[0.0] - codes[1.0], atol=1e-6)
    other = matrix((await one(stub, 6, truncation_psi=0.0)).code)
    assert np.array_equal(codes[0.0], other), "the mean is the same for every seed"
    cut = matrix((await one(stub, truncation_psi=0.0, truncation_cutoff=2)).code)
    assert np.array_equal(cut[:2], codes[0.0][:2])
    assert np.array_equal(cut[2:], codes[1.0][2:])


async def test_attributes_noise_and_strength_change_the_image(stub):
    usual = await one(stub)
    for options in ({"attributes": {"style": "pixel-art"}}, {"noise_seed": 6}, {"noise_strength": 0.0}):
        assert (await one(stub, **options)).image.data != usual.image.data, options
    assert np.array_equal(pixels((await one(stub, noise_seed=5)).image), pixels(usual.image))
    silent = [pixels((await one(stub, noise_seed=each, noise_strength=0.0)).image) for each in (1, 2)]
    assert np.array_equal(*silent)


async def test_images_are_enlarged(stub):
    for factor in (2, 4):
        image = (await one(stub, upscale_factor=factor)).image
        assert (image.width, image.height) == (factor * SIZE, factor * SIZE)
        assert settings_of(image)["upscaler"] == "peeps-upscaler:1"
    assert pixels((await one(stub, output_format=ImageFormat.IMAGE_FORMAT_WEBP)).image).shape == (16, 16, 3)


async def test_a_code_makes_its_image_again_whatever_the_truncation(stub):
    made = await one(stub, 5, truncation_psi=0.7, noise_seed=0)
    donor = v1.StyleDonor(origin=v1.Origin(code=made.code), layers=[0])
    options = v1.SynthesisOptions(truncation_psi=0.1)
    mixed = await stub.Mix(v1.MixRequest(base=v1.Origin(code=made.code), donors=[donor], options=options))
    assert np.array_equal(pixels(mixed.image.image), pixels(made.image))
    assert mixed.image.seed == 0


async def test_a_mix_takes_layers_of_its_donors(stub):
    base, first, second = [matrix((await one(stub, each)).code) for each in (1, 2, 3)]
    donors = [
        v1.StyleDonor(origin=seed(2), layers=[0, 1]),
        v1.StyleDonor(origin=seed(3), layers=[LAYERS - 1]),
    ]
    reply = await stub.Mix(
        v1.MixRequest(base=seed(1), donors=donors, options=v1.SynthesisOptions(return_codes=True))
    )
    expected = base.copy()
    expected[:2], expected[-1] = first[:2], second[-1]
    assert np.array_equal(matrix(reply.image.code), expected)


async def test_a_walk_in_w_goes_straight_with_one_grain(stub):
    options = v1.SynthesisOptions(return_codes=True)
    frames = await walk(stub, options=options)
    assert [each.frame.index for each in frames] == list(range(5))
    assert [each.frame.position for each in frames] == [0, 0.25, 0.5, 0.75, 1]
    assert [each.HasField("usage") for each in frames] == [False] * 4 + [True]
    ends = [matrix((await one(stub, each)).code) for each in (1, 2)]
    codes = [matrix(each.frame.image.code) for each in frames]
    np.testing.assert_allclose(codes[1], 0.75 * ends[0] + 0.25 * ends[1], atol=1e-6)
    assert np.array_equal(codes[-1], ends[1])
    first = await one(stub, 1)
    last = await one(stub, 2, noise_seed=1)
    assert np.array_equal(pixels(frames[0].frame.image.image), pixels(first.image))
    assert np.array_equal(pixels(frames[-1].frame.image.image), pixels(last.image))


async def test_a_walk_in_z_leaves_the_straight_way_and_meets_its_ends(stub):
    options = v1.SynthesisOptions(return_codes=True)
    fields = {"options": options, "space": v1.LATENT_SPACE_Z, "frames": 3}
    frames = await walk(stub, **fields)
    codes = [matrix(each.frame.image.code) for each in frames]
    ends = [matrix((await one(stub, each)).code) for each in (1, 2)]
    np.testing.assert_allclose([codes[0], codes[-1]], ends, atol=1e-5)
    assert np.abs(codes[1] - (ends[0] + ends[1]) / 2).max() > 1e-3
    straight = await walk(stub, **fields, interpolation=v1.INTERPOLATION_LINEAR)
    assert len(straight) == 3


async def test_a_loop_ends_where_it_began(stub):
    frames = await walk(stub, stops=[seed(1), seed(2), seed(3)], frames=7, loop=True)
    assert frames[-1].frame.position == 3
    assert frames[0].frame.image.image.data == frames[-1].frame.image.image.data


@pytest.mark.parametrize(
    ("kind", "name"), [(v1.ANIMATION_FORMAT_WEBP, "WEBP"), (v1.ANIMATION_FORMAT_GIF, "GIF")]
)
async def test_a_moving_picture_has_the_frames(stub, kind, name):
    events = await walk(stub, frames=6, animation=kind, options=v1.SynthesisOptions(upscale_factor=2))
    assert [each.progress.completed for each in events[:-1]] == [1, 2, 3, 4, 5, 6]
    assert {each.progress.total for each in events[:-1]} == {6}
    made = events[-1].animation
    assert (made.format, made.frames, made.width, made.height) == (kind, 6, 2 * SIZE, 2 * SIZE)
    assert events[-1].HasField("usage")
    picture = Image.open(io.BytesIO(made.data))
    assert (picture.format, picture.n_frames) == (name, 6)


async def test_scores_are_logits_among_known_images(stub):
    images = [(await one(stub, each)).image for each in range(6)]
    scores = (await stub.Score(v1.ScoreRequest(images=images))).scores
    for each in scores:
        for name, percentile in (("real", each.real_percentile), ("made", each.fake_percentile)):
            marks = np.linspace(0, 100, len(SCORES[name]))
            assert percentile == pytest.approx(np.interp(each.logit, SCORES[name], marks), abs=1e-3)
    other = (await stub.Score(v1.ScoreRequest(images=images, attributes={"glasses": "none"}))).scores
    assert [each.logit for each in other] != [each.logit for each in scores]


async def test_pictures_of_any_size_are_scored_at_the_models(stub):
    small = pixels((await one(stub)).image)
    large = np.repeat(np.repeat(small, 4, axis=0), 4, axis=1)
    scores = (await stub.Score(v1.ScoreRequest(images=[png(small), png(large)]))).scores
    assert scores[0] == scores[1]


async def test_an_edit_moves_along_its_directions(stub):
    options = v1.SynthesisOptions(return_codes=True)

    async def edited(*edits):
        chosen = [v1.AttributeEdit(direction=name, amount=amount) for name, amount in edits]
        reply = await stub.Edit(v1.EditRequest(origin=seed(5), edits=chosen, options=options))
        return matrix(reply.image.code)

    start = matrix((await one(stub)).code)
    there = await edited(("glasses:none", 2.0))
    assert np.abs(there - start).max() > 0.1
    np.testing.assert_allclose(await edited(("glasses:none", 1.0)), (start + there) / 2, atol=1e-5)
    assert np.array_equal(await edited(("none", 2.0)), there)
    both = await edited(("none", 2.0), ("pixel-art", 1.0))
    np.testing.assert_allclose(both - there, await edited(("pixel-art", 1.0)) - start, atol=1e-5)
    assert np.array_equal(await edited(("none", 0.5), ("none", 1.5)), there)


async def test_a_projection_comes_nearer_and_its_code_makes_the_image(stub):
    target = (await one(stub, noise_strength=0.0)).image
    options = v1.SynthesisOptions(noise_strength=0.0)
    request = v1.ProjectRequest(
        image=target, steps=60, start=v1.PROJECTION_START_MEAN, preview_every=20, options=options
    )
    events = [each async for each in stub.Project(request)]
    steps = [each.step for each in events[:-1]]
    assert [each.step for each in steps] == list(range(1, 61))
    assert steps[-1].loss < steps[0].loss / 2
    assert [each.step for each in steps if each.HasField("preview")] == [20, 40, 60]
    found = events[-1].result
    difference = pixels(found.image).astype(float) - pixels(target)
    assert found.psnr_db == pytest.approx(10 * math.log10(255**2 / np.square(difference).mean()), abs=1e-3)
    assert -1 <= found.similarity <= 1
    assert events[-1].usage.steps == 60
    donor = v1.StyleDonor(origin=v1.Origin(code=found.code), layers=[0])
    again = await stub.Mix(v1.MixRequest(base=v1.Origin(code=found.code), donors=[donor], options=options))
    assert np.array_equal(pixels(again.image.image), pixels(found.image))


async def test_no_steps_return_the_beginning(stub):
    target = (await one(stub)).image
    begin = v1.ProjectRequest(image=target, steps=0, start=v1.PROJECTION_START_MEAN)
    (from_mean,) = [each async for each in stub.Project(begin)]
    (guessed,) = [each async for each in stub.Project(v1.ProjectRequest(image=target, steps=0))]
    mean = matrix((await one(stub, truncation_psi=0.0)).code)
    assert np.array_equal(matrix(from_mean.result.code), mean)
    assert not np.array_equal(matrix(guessed.result.code), mean), "the encoder begins elsewhere"


async def test_the_nearest_training_images(stub):
    reply = await stub.Nearest(v1.NearestRequest(origin=seed(5), limit=TRAINING))
    similar = [each.similarity for each in reply.images]
    assert similar == sorted(similar, reverse=True)
    assert sorted(each.index for each in reply.images) == list(range(TRAINING))
    assert (reply.searched, reply.feature_model) == (TRAINING, "tiny-clip:1")
    captions = {each.index: each.caption for each in reply.images}
    assert (captions[0], captions[1]) == ("glasses: glasses, style: open-peeps", "style: open-peeps")
    image = (await one(stub)).image
    same = await stub.Nearest(v1.NearestRequest(image=image))
    assert list(same.images) == list(reply.images[:4])
