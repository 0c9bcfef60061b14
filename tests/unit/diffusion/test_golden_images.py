"""The same bytes alone and in any company, over random arrivals, with every kind of request at once."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
import pytest_asyncio

from pequod.diffusion import v1
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.unit.diffusion.service import diffusion_service, generate, images_of, png, write_adapter

TRACES = 50
SCHEDULERS = [each for each in v1.Scheduler.values() if each not in {0, v1.SCHEDULER_FLOW_EULER}]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(home):
    async with diffusion_service(home, rows=5) as (stub, _):
        yield stub


@pytest.fixture(scope="module")
def kinds(home):
    """Requests of all kinds: schedulers, guidance, steps, adapters, beginnings from pictures, masks."""
    chance = random.Random(0)
    adapters = [write_adapter(home / f"adapter-{number}", number, rank=6) for number in range(3)]
    drawings = Peeps(HELD_OUT_FOLDER).at(32)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 4:20] = 255
    made = []
    for number in range(24):
        fields = {
            "prompt": chance.choice(
                ["a sad person", "a drawing of a person with a beard", "pixel art, red shirt"]
            ),
            "seed": chance.randrange(2**64),
            "steps": chance.randint(1, 4),
            "scheduler": SCHEDULERS[number % len(SCHEDULERS)],
            "guidance_scale": chance.choice([1.0, 3.0]),
            "guidance_end": chance.choice([0.5, 1.0]),
            "upscale_factor": chance.choice([1, 1, 1, 2]),
        }
        if number % 3 == 0:
            fields["adapters"] = [
                v1.AdapterScale(adapter=each, scale=chance.uniform(-1, 2))
                for each in chance.sample(adapters, chance.randint(1, 2))
            ]
        if number % 4 == 1:
            fields |= {"init_image": png(drawings[number]), "strength": 0.7}
        if number % 8 == 1:
            fields["mask"] = png(mask)
        made.append(fields)
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(stub, kinds):
    """The file of each kind when nothing else runs."""
    return [images_of(await generate(stub, **kind))[0].image.data for kind in kinds]


@pytest.mark.parametrize("trace", range(TRACES))
async def test_bytes_are_the_same_under_any_arrivals(stub, kinds, alone, trace):
    chance = random.Random(trace)
    chosen = [chance.randrange(len(kinds)) for _ in range(6)]

    async def arrives(kind: int, number: int) -> bytes | None:
        await asyncio.sleep(chance.random() * 0.1)
        if number == 5:  # one that leaves early: nobody else may notice
            call = stub.Generate(v1.GenerateRequest(**kinds[kind] | {"steps": 50}))
            await anext(aiter(call))
            call.cancel()
            return None
        return images_of(await generate(stub, **kinds[kind]))[0].image.data

    made = await asyncio.gather(*(arrives(kind, number) for number, kind in enumerate(chosen)))
    for kind, data in zip(chosen[:5], made, strict=False):
        assert data == alone[kind], kinds[kind]


async def test_images_of_one_request_are_those_of_requests_alone(stub, kinds):
    kind = kinds[2] | {"seed": 40, "n": 4}
    together = images_of(await generate(stub, **kind))
    for image in together:
        (single,) = images_of(await generate(stub, **kind | {"seed": image.seed, "n": 1}))
        assert single.image.data == image.image.data
