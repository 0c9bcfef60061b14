"""The GAN service on tiny models: what it refuses and says then, and who may leave when."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from pequod.gan import v1
from services.gan.settings import GanSettings
from tests.unit.gan.gan_calls import one, seed
from tests.unit.gan.gan_models import WORDS, gan_service
from tests.unit.serving import refused

INVALID = grpc.StatusCode.INVALID_ARGUMENT

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


async def test_a_model_without_companions_says_what_it_lacks(stub):
    image = (await one(stub)).image
    code, told, _ = await refused(stub.Nearest(v1.NearestRequest(model="bare", origin=seed(1))))
    assert (code, "no features" in told) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    edits = [v1.AttributeEdit(direction="a", amount=1)]
    code, told, _ = await refused(stub.Edit(v1.EditRequest(model="bare", origin=seed(1), edits=edits)))
    assert (code, "no directions" in told) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    code, told, _ = await refused(stub.Score(v1.ScoreRequest(model="bare", images=[image])))
    assert (code, "no scores of known images" in told) == (grpc.StatusCode.FAILED_PRECONDITION, True)
    start = v1.PROJECTION_START_ENCODER
    call = stub.Project(v1.ProjectRequest(model="bare", image=image, start=start))
    code, told, _ = await refused(anext(aiter(call)))
    assert (code, "no encoder" in told) == (grpc.StatusCode.FAILED_PRECONDITION, True)


async def test_a_dcgan_does_what_it_can(stub):
    made = await one(stub, 5, model="plain", truncation_psi=0.5)
    assert (made.code.layers, made.code.dimensions) == (1, 8)
    code, told, field = await refused(
        stub.Sample(
            v1.SampleRequest(model="plain", n=1, options=v1.SynthesisOptions(attributes={"glasses": "none"}))
        )
    )
    assert (code, field) == (INVALID, "options.attributes")
    assert "not conditional" in told
    assert len((await stub.Score(v1.ScoreRequest(model="plain", images=[made.image]))).scores) == 1
    request = v1.ProjectRequest(model="plain", image=made.image, steps=2)
    assert [each.WhichOneof("event") async for each in stub.Project(request)] == ["step", "step", "result"]


async def test_an_unknown_attribute_lists_the_known(stub):
    for attributes, parts in (
        ({"hat": "cap"}, ["'hat'", *{name for name, _ in WORDS}]),
        ({"glasses": "square"}, ["'square'", *(word for name, word in WORDS if name == "glasses")]),
    ):
        options = v1.SynthesisOptions(attributes=attributes)
        code, told, field = await refused(stub.Sample(v1.SampleRequest(n=1, options=options)))
        assert code is INVALID
        assert field.startswith("options.attributes")
        assert all(part in told for part in parts), told


async def test_without_any_gan_a_request_is_told_what_to_do(tmp_path):
    usual = GanSettings().default_model
    async with gan_service(tmp_path, shipped=tmp_path / "none", default_model=usual) as (stub, _):
        code, told, _ = await refused(stub.Sample(v1.SampleRequest(n=1)))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "no model 'peeps-gan'" in told
    assert "recipe train_gan" in told


async def test_a_projection_whose_caller_leaves_ends_and_gives_up_its_place(service, stub):
    _, metrics = service
    image = (await one(stub)).image

    def value():
        return metrics.registry.get_sample_value("pequod_projections_running", {"service": "gan"})

    calls = [stub.Project(v1.ProjectRequest(image=image, steps=1000)) for _ in range(2)]
    for call in calls:
        await anext(aiter(call))
    assert value() == 2
    code, told, _ = await refused(anext(aiter(stub.Project(v1.ProjectRequest(image=image, steps=1)))))
    assert (code, "2 projections are under way" in told) == (grpc.StatusCode.UNAVAILABLE, True)
    for call in calls:
        call.cancel()
    async with asyncio.timeout(30):
        while value():
            await asyncio.sleep(0.01)
    assert len([each async for each in stub.Project(v1.ProjectRequest(image=image, steps=1))]) == 2


async def test_projections_take_turns(stub):
    image = (await one(stub)).image
    order = []

    async def follow(name):
        async for each in stub.Project(v1.ProjectRequest(image=image, steps=30)):
            if each.HasField("step"):
                order.append(name)

    await asyncio.gather(follow("a"), follow("b"))
    assert len({*order[10:50]}) == 2


async def test_a_walk_whose_caller_leaves_stops_being_drawn(service):
    stub, metrics = service

    def value(name):
        return metrics.registry.get_sample_value(name, {"model": "tiny-gan"}) or 0

    before = value("pequod_images_generated_total")
    call = stub.Interpolate(v1.InterpolateRequest(stops=[seed(1), seed(2)], frames=600))
    await anext(aiter(call))
    call.cancel()
    async with asyncio.timeout(30):
        while value("pequod_images_cancelled_total") == 0:
            await asyncio.sleep(0.01)
    assert value("pequod_images_generated_total") - before < 600


async def test_a_short_deadline_ends_a_call(stub):
    image = (await one(stub)).image
    call = stub.Project(v1.ProjectRequest(image=image, steps=1000), timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_model_of_another_kind_is_refused(stub):
    code, told, _ = await refused(stub.Sample(v1.SampleRequest(model="peeps-upscaler", n=1)))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "upscaler model, which another service runs" in told
