"""A gateway in front of one backend that plays three services; a sampler of it that says what a test sets.

A file whose backend does something else has a fixture ``backend`` of its own, before the same gateway.
"""

import pytest

from gateway.models import GET_MODEL
from services.common.errors import Code, Reason, ServiceError
from tests.unit.gateway.fakes import GENERATE, GENERATE_STREAM, FakeBackend, backends, gateway
from tests.unit.gateway.openai_parts import Sampler, failing


@pytest.fixture
def sampler():
    return Sampler()


@pytest.fixture
async def backend(sampler):
    nobody = failing(ServiceError(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "no such model"))
    behaviours = {GENERATE: sampler.generate, GENERATE_STREAM: sampler.stream, GET_MODEL: nobody}
    async with backends(FakeBackend(**behaviours)) as (fake,):
        yield fake


@pytest.fixture
async def door(backend):
    async with gateway(sampler=[backend], tokenizer=[backend], finetune=[backend]) as started:
        yield started
