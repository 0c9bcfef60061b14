"""FineTuneService behind a real server: created once, refused with the field named, followed, promoted."""

from __future__ import annotations

import asyncio
import io
import uuid

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from PIL import Image

from pequod.finetune import v1
from services.finetune.jobs.states import State
from services.finetune.orchestrator.settings import JobSettings
from tests.unit.finetune.job_parts import TINY_LM, book, reached
from tests.unit.finetune.parts import picture, running, upload
from tests.unit.serving import refused


def spec(dataset_id: str, recipe: str = "ngram", **fields) -> v1.JobSpec:
    parameters = {"ngram": {"order": 2}, "pretrain_lm": TINY_LM}[recipe]
    message = v1.JobSpec(recipe=recipe, dataset_id=dataset_id, **fields)
    json_format.ParseDict(parameters, message.parameters)
    return message


@pytest.fixture
async def platform(tmp_path):
    settings = JobSettings(nice=0, jobs=1, job_threads=1)
    async with running(f"sqlite:///{tmp_path}/f.db", tmp_path, settings) as (stub, process):
        yield stub, v1.FineTuneServiceStub(stub.channel), process


@pytest.fixture
def datasets(platform):
    return platform[0]


@pytest.fixture
def stub(platform):
    return platform[1]


async def create(stub, wanted, **fields):
    return (await stub.CreateJob(v1.CreateJobRequest(spec=wanted, **fields))).job


async def watched(stub, job_id, **fields):
    """All that WatchJob tells until the job's end."""
    request = v1.WatchJobRequest(job_id=job_id, **fields)
    return [each async for each in stub.WatchJob(request)]


async def test_a_job_from_data_to_report(platform, datasets, stub):
    dataset = await upload(datasets, {"book.txt": book()})
    job = await create(stub, spec(dataset.dataset_id, output=v1.Output(name="mine", alias="best")))
    assert (job.state, job.spec.output.name) == (v1.JOB_STATE_VALIDATING, "mine")
    assert dict(job.spec.parameters) == {"order": 2.0, "alphabet": "shannon"}
    *told, last = await watched(stub, job.job_id)
    assert [each.number for each in told] == list(range(1, len(told) + 1))
    assert last.WhichOneof("event") is None
    assert last.HasField("usage")
    states = [each.state.to for each in told if each.WhichOneof("event") == "state"]
    assert states[-1] == v1.JOB_STATE_SUCCEEDED
    (published,) = [each.published for each in told if each.WhichOneof("event") == "published"]
    assert (published.model, published.alias, published.previous_version) == ("mine:1", "best", "")
    again = await watched(stub, job.job_id, after_event=told[-3].number)
    assert again[:-1] == told[-2:]
    reply = await stub.GetJob(v1.GetJobRequest(job_id=job.job_id, report_format=v1.REPORT_FORMAT_HTML))
    assert (reply.job.model, reply.job.dataset_digest) == ("mine:1", dataset.digest)
    page = reply.report.data.decode()
    assert "<svg" in page
    assert "held_out_bits_per_symbol_order_2" in page
    assert "http" not in page
    reply = await stub.GetJob(v1.GetJobRequest(job_id=job.job_id, report_format=v1.REPORT_FORMAT_PNG))
    with Image.open(io.BytesIO(reply.report.data)) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height > 200


async def test_the_same_request_makes_one_job(datasets, stub):
    dataset = await upload(datasets, {"book.txt": book()})
    key = str(uuid.uuid4())
    request = v1.CreateJobRequest(request_id=key, spec=spec(dataset.dataset_id))
    first, second = await stub.CreateJob(request), await stub.CreateJob(request)
    assert (first.existed, second.existed) == (False, True)
    assert first.job.job_id == second.job.job_id
    assert first.job.spec.seed == second.job.spec.seed, "drawn once"
    other = spec(dataset.dataset_id, priority=1)
    code, _, _ = await refused(stub.CreateJob(v1.CreateJobRequest(request_id=key, spec=other)))
    assert code is grpc.StatusCode.ALREADY_EXISTS


def parameters(**given):
    """As a client that knows no JSON may fill them."""
    made = struct_pb2.Struct()
    made.update(given)
    return made


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"recipe": "knit"}, "spec.recipe", "ngram, word2vec"),
        ({"preset": "fast"}, "spec.preset", "has no preset 'fast'"),
        ({"steps": 5}, "spec.steps", "has no steps"),
        ({"base": "moby-ngram"}, "spec.base", "starts from no model"),
        ({"dataset_id": ""}, "spec.dataset_id", "which reads text"),
        ({"dataset_id": "mine"}, "spec.dataset_id", "26 letters"),
        ({"parameters": parameters(order=float("nan"))}, "spec.parameters", "NaN or infinity"),
        ({"parameters": parameters(more=[[float("inf")]])}, "spec.parameters", "NaN or infinity"),
        ({"seed": 2**50}, "spec.seed", "must be in 0..1099511627776"),
        ({"keep_checkpoints": 101}, "spec.keep_checkpoints", "0..100"),
        ({"priority": 101}, "spec.priority", "-100..100"),
        ({"output": v1.Output(name="../x")}, "spec.output.name", "may not leave the store"),
        ({"output": v1.Output(alias="A")}, "spec.output.alias", "alias 'A'"),
        ({"executor": v1.EXECUTOR_KUBERNETES}, "spec.executor", "PEQUOD_FINETUNE_KUBERNETES_IMAGE"),
        ({"resources": v1.Resources(accelerators=9)}, "spec.resources.accelerators", "0..0"),
        ({"labels": {"": "x"}}, "spec.labels", "has 0 characters"),
        (
            {"webhooks": [v1.Webhook(url="http://example.org", secret="x" * 16)]},
            "spec.webhooks[0].url",
            "must begin with https://",
        ),
        (
            {"webhooks": [v1.Webhook(url="https://127.0.0.1/x", secret="x" * 16)]},
            "spec.webhooks[0].url",
            "no public address",
        ),
        (
            {"webhooks": [v1.Webhook(url="https://example.org", secret="short")]},
            "spec.webhooks[0].secret",
            "16..256",
        ),
    ],
)
async def test_bad_specs_name_the_field(datasets, stub, fields, field, says):
    dataset = await upload(datasets, {"book.txt": b"some text"})
    wanted = spec(dataset.dataset_id)
    wanted.MergeFrom(v1.JobSpec(**fields))
    for name in ("dataset_id", "recipe"):
        if name in fields:
            setattr(wanted, name, fields[name])
    code, message, where = await refused(create(stub, wanted))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, field), message
    assert says in message


async def test_data_that_does_not_fit_is_refused(datasets, stub):
    pictures = await upload(datasets, {"a.png": picture(1)})
    code, message, where = await refused(create(stub, spec(pictures.dataset_id)))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, "spec.dataset_id")
    assert "holds images; recipe ngram reads text" in message
    broken = await upload(datasets, {"a.bin": b"\0"})
    code, message, _ = await refused(create(stub, spec(broken.dataset_id)))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    code, _, _ = await refused(create(stub, spec("ds-" + "0" * 26)))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_data_set_is_held_until_its_job_has_ended(platform, datasets, stub):
    dataset = await upload(datasets, {"book.txt": book()})
    job = await create(stub, spec(dataset.dataset_id, "pretrain_lm", steps=100_000))
    await reached(platform[2].jobs.records, job.job_id, State.RUNNING)
    delete = v1.DeleteDatasetRequest(dataset_id=dataset.dataset_id)
    code, message, _ = await refused(datasets.DeleteDataset(delete))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert job.job_id in message
    code, _, _ = await refused(stub.DeleteJob(v1.DeleteJobRequest(job_id=job.job_id)))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    reply = await stub.CancelJob(v1.CancelJobRequest(job_id=job.job_id))
    assert reply.job.cancel_requested
    ended = await reached(platform[2].jobs.records, job.job_id)
    assert ended.state is State.CANCELLED
    await datasets.DeleteDataset(delete)
    assert (await stub.DeleteJob(v1.DeleteJobRequest(job_id=job.job_id))).freed_bytes > 0
    code, _, _ = await refused(stub.GetJob(v1.GetJobRequest(job_id=job.job_id)))
    assert code is grpc.StatusCode.NOT_FOUND


@pytest.mark.slow
async def test_a_paused_job_goes_on_where_it_was(platform, datasets, stub):
    dataset = await upload(datasets, {"book.txt": book()})
    job = await create(stub, spec(dataset.dataset_id, "pretrain_lm", steps=1000))
    records = platform[2].jobs.records
    while (await reached(records, job.job_id, State.RUNNING)).step < 5:
        await asyncio.sleep(0.05)
    await stub.PauseJob(v1.PauseJobRequest(job_id=job.job_id))
    paused = await reached(records, job.job_id, State.PAUSED)
    assert 5 <= paused.step < 1000
    assert not paused.pause_requested
    resumed = (await stub.ResumeJob(v1.ResumeJobRequest(job_id=job.job_id))).job
    assert resumed.state != v1.JOB_STATE_PAUSED
    ended = await reached(records, job.job_id)
    assert (ended.state, ended.step, ended.attempts) == (State.SUCCEEDED, 1000, 2)


async def test_a_forecast_creates_nothing(datasets, stub):
    dataset = await upload(datasets, {"book.txt": book()})
    wanted = spec(dataset.dataset_id, "pretrain_lm", steps=5000)
    reply = await stub.CreateJob(v1.CreateJobRequest(spec=wanted, validate_only=True), timeout=60)
    forecast = reply.forecast
    assert (forecast.steps, forecast.timed_steps) == (5000, 5)
    assert forecast.duration_seconds == pytest.approx(5000 * forecast.step_seconds, rel=0.01)
    assert forecast.memory_bytes > 50 * 2**20
    assert forecast.disk_bytes > 0
    assert reply.job.job_id == ""
    assert reply.job.spec.steps == 5000
    assert not (await stub.ListJobs(v1.ListJobsRequest())).jobs


async def test_a_checkpoint_is_promoted_once_and_again(platform, datasets, stub):
    dataset = await upload(datasets, {"book.txt": book()})
    output = v1.Output(name="mine", promotion=v1.PROMOTION_MANUAL)
    job = await create(stub, spec(dataset.dataset_id, output=output))
    await reached(platform[2].jobs.records, job.job_id)
    listed = (await stub.ListCheckpoints(v1.ListCheckpointsRequest(job_id=job.job_id))).checkpoints
    assert [(each.best, each.promoted, each.rank) for each in listed] == [(True, False, 1)]
    request = v1.PromoteCheckpointRequest(job_id=job.job_id, expected_version="7")
    code, message, _ = await refused(stub.PromoteCheckpoint(request))
    assert code is grpc.StatusCode.ABORTED
    assert "points at nothing, not at 7" in message
    calls = [stub.PromoteCheckpoint(v1.PromoteCheckpointRequest(job_id=job.job_id)) for _ in range(5)]
    replies = await asyncio.gather(*calls)
    assert {(each.model.name, each.model.version) for each in replies} == {("mine", "1")}
    assert all(each.checkpoint.promoted for each in replies)
    told = await watched(stub, job.job_id)
    assert sum(each.WhichOneof("event") == "published" for each in told) == 1
    elsewhere = v1.PromoteCheckpointRequest(job_id=job.job_id, name="other", alias="trial")
    reply = await stub.PromoteCheckpoint(elsewhere)
    assert (reply.model.name, reply.model.version, list(reply.model.aliases)) == ("other", "1", ["trial"])
    code, _, _ = await refused(
        stub.PromoteCheckpoint(v1.PromoteCheckpointRequest(job_id=job.job_id, checkpoint_id="x"))
    )
    assert code is grpc.StatusCode.NOT_FOUND


async def test_jobs_are_listed_in_pages(datasets, stub):
    dataset = await upload(datasets, {"book.txt": b"a text"})
    made = [(await create(stub, spec(dataset.dataset_id, labels={"n": f"{n % 2}"}))).job_id for n in range(4)]
    first = await stub.ListJobs(v1.ListJobsRequest(page_size=3))
    rest = await stub.ListJobs(v1.ListJobsRequest(page_size=3, page_token=first.next_page_token))
    assert [each.job_id for each in (*first.jobs, *rest.jobs)] == made[::-1]
    odd = await stub.ListJobs(v1.ListJobsRequest(labels={"n": "1"}))
    assert [each.job_id for each in odd.jobs] == [made[3], made[1]]
    code, _, where = await refused(stub.ListJobs(v1.ListJobsRequest(page_token="x")))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")
