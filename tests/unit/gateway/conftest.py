"""A gateway in front of a sampler that says what a test sets."""

import pytest

from tests.unit.gateway.fakes import GENERATE, GENERATE_STREAM, FakeBackend, backends, gateway
from tests.unit.gateway.openai_parts import Sampler


@pytest.fixture
def sampler():
    return Sampler()


@pytest.fixture
async def backend(sampler):
    behaviours = {GENERATE: sampler.generate, GENERATE_STREAM: sampler.stream}
    async with backends(FakeBackend(**behaviours)) as (fake,):
        yield fake


@pytest.fixture
async def door(backend):
    async with gateway(sampler=[backend], tokenizer=[backend]) as started:
        yield started
