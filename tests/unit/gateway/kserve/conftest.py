"""A gateway in front of services that know a model of every kind."""

import pytest

import inference as pb
from tests.unit.gateway.kserve.kserve_parts import Services, door_of


@pytest.fixture
def services():
    return Services()


@pytest.fixture
async def door(services):
    async with door_of(services) as started:
        yield started


@pytest.fixture
def stub(door):
    return pb.GRPCInferenceServiceStub(door.channel)
