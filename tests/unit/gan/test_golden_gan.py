"""The same bytes alone and in any company, over random arrivals, with every kind of request at once."""

from __future__ import annotations

import asyncio
import random

import pytest
import pytest_asyncio

from pequod.gan import v1
from tests.unit.gan.gan_models import gan_service

TRACES = 50

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(gan_home):
    async with gan_service(gan_home, preload=("tiny-gan", "plain"), rows=5) as (stub, _):
        yield stub


def origin(chance):
    return v1.Origin(seed=chance.randrange(2**64))


def options(chance, **fields):
    chosen = {
        "truncation_psi": chance.choice([0.5, 1.0, 1.5]),
        "truncation_cutoff": chance.choice([0, 1]),
        "noise_strength": chance.choice([0.0, 1.0]),
        "upscale_factor": chance.choice([1, 1, 2]),
        "return_codes": True,
        **fields,
    }
    return v1.SynthesisOptions(**chosen)


@pytest.fixture(scope="module")
def kinds():
    """Requests of all kinds: samples with and without attributes, grids, walks, mixes, edits, projections."""
    chance = random.Random(0)
    made = []
    for number in range(24):
        stated = {
            "attributes": chance.choice([{}, {"glasses": "none"}, {"glasses": "round", "style": "pix"}])
        }
        seeds = [chance.randrange(2**64) for _ in range(chance.choice([1, 1, 3, 20]))]
        layout = chance.choice([v1.LAYOUT_SINGLES, v1.LAYOUT_GRID])
        stops = [origin(chance), origin(chance), origin(chance)]
        donor = v1.StyleDonor(origin=origin(chance), layers=[0, 2])
        made.append(
            [
                v1.SampleRequest(seeds=seeds, layout=layout, options=options(chance, **stated)),
                v1.SampleRequest(model="plain", seeds=seeds[:2], options=options(chance)),
                v1.InterpolateRequest(stops=stops, frames=7, space=1 + number % 2, options=options(chance)),
                v1.MixRequest(base=stops[0], donors=[donor], options=options(chance, **stated)),
                v1.EditRequest(
                    origin=stops[1],
                    edits=[v1.AttributeEdit(direction="pixel-art", amount=chance.uniform(-3, 3))],
                    options=options(chance),
                ),
                v1.InterpolateRequest(stops=stops, frames=9, animation=v1.ANIMATION_FORMAT_WEBP),
            ][number % 6]
        )
    return made


async def answer(stub, request) -> list[bytes]:
    """The replies without what they took."""
    if isinstance(request, v1.InterpolateRequest):
        replies = [each async for each in stub.Interpolate(request)]
    else:
        method = {v1.SampleRequest: stub.Sample, v1.MixRequest: stub.Mix, v1.EditRequest: stub.Edit}
        replies = [await method[type(request)](request)]
    for reply in replies:
        reply.ClearField("usage")
    return [each.SerializeToString(deterministic=True) for each in replies]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(stub, kinds):
    """The replies of each kind when nothing else runs."""
    return [await answer(stub, kind) for kind in kinds]


@pytest.mark.parametrize("trace", range(TRACES))
async def test_bytes_are_the_same_under_any_arrivals(stub, kinds, alone, trace):
    chance = random.Random(trace)
    chosen = [chance.randrange(len(kinds)) for _ in range(12)]

    async def arrives(kind: int, number: int) -> list[bytes] | None:
        await asyncio.sleep(chance.random() * 0.03)
        if number >= 10:  # two that leave early: nobody else may notice
            call = stub.Interpolate(
                v1.InterpolateRequest(stops=[v1.Origin(seed=1), v1.Origin(seed=2)], frames=200)
            )
            await anext(aiter(call))
            call.cancel()
            return None
        return await answer(stub, kinds[kind])

    made = await asyncio.gather(*(arrives(kind, number) for number, kind in enumerate(chosen)))
    for kind, data in zip(chosen[:10], made, strict=False):
        assert data == alone[kind], kinds[kind]


async def test_images_of_one_request_are_those_of_requests_alone(stub):
    together = await stub.Sample(v1.SampleRequest(seeds=range(40, 60)))
    for image in together.images:
        single = await stub.Sample(v1.SampleRequest(seeds=[image.seed]))
        assert single.images[0].image.data == image.image.data


async def test_the_kinds_differ(alone):
    assert len({b"".join(each) for each in alone}) == len(alone)


async def test_scores_of_a_picture_are_the_same_in_any_company(stub):
    images = [each.image for each in (await stub.Sample(v1.SampleRequest(seeds=range(9)))).images]
    together = (await stub.Score(v1.ScoreRequest(images=images))).scores
    alone = [(await stub.Score(v1.ScoreRequest(images=[each]))).scores[0] for each in images]
    assert list(together) == alone
    assert len({each.logit for each in alone}) == 9
