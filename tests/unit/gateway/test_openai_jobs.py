"""Files and jobs under /v1: data that are checked for long, and what events say."""

import pytest

from gateway.openai import files
from gateway.openai.jobevents import event_of
from pequod.finetune import v1
from tests.unit.gateway.fakes import FakeBackend, backends, gateway
from tests.unit.gateway.openai_parts import error_of

GET_DATASET = "/pequod.finetune.v1.DatasetService/GetDataset"


async def test_data_that_are_checked_for_long_hold_nobody(monkeypatch):
    monkeypatch.setattr(files, "_CHECK_SECONDS", 0.3)

    async def checking(request, context):
        dataset = v1.Dataset(dataset_id="ds-1", state=v1.DATASET_STATE_CHECKING)
        return v1.GetDatasetResponse(dataset=dataset).SerializeToString()

    body = {"model": "m", "training_file": "ds-1"}
    async with backends(FakeBackend(**{GET_DATASET: checking})) as (fake,), gateway(finetune=[fake]) as door:
        code, _, _, reason, message = await error_of(door, "/v1/fine_tuning/jobs", body)
    assert (code, reason) == (400, "DATASET_NOT_READY")
    assert "still being checked; try again later, or say recipe" in message


@pytest.mark.parametrize(
    ("fields", "level", "kind", "message"),
    [
        ({"state": v1.StateChange(to=v1.JOB_STATE_RUNNING)}, "info", "message", "the job is running"),
        (
            {"state": v1.StateChange(to=v1.JOB_STATE_FAILED, error=v1.JobError(message="the loss is nan"))},
            "error",
            "message",
            "the job is failed: the loss is nan",
        ),
        (
            {"metrics": v1.StepMetrics(step=2, steps=9, values={"loss": 0.25, "a": 1})},
            "info",
            "metrics",
            "step 2 of 9: a 1, loss 0.25",
        ),
        ({"checkpoint": v1.Checkpoint(step=2, rank=1)}, "info", "message", "checkpoint at step 2: rank 1"),
        (
            {"checkpoint": v1.Checkpoint(step=2, veto_reason="it drifts")},
            "info",
            "message",
            "checkpoint at step 2: it drifts",
        ),
        ({"preview": v1.Preview(step=2, prompt="a")}, "info", "message", "a preview at step 2"),
        (
            {"alarm": v1.Alarm(message="all alike", action="rolled back")},
            "warn",
            "message",
            "all alike; rolled back",
        ),
        ({"alarm": v1.Alarm(message="over", cleared=True)}, "info", "message", "over"),
        ({"log": v1.LogLine(level=v1.LOG_LEVEL_WARNING, text="a line")}, "warn", "message", "a line"),
        ({"published": v1.Published(model="sks:1")}, "info", "message", "published as sks:1"),
        ({"progress": {"completed": 2, "total": 9}}, "info", "message", "2 of 9"),
    ],
)
def test_an_event_is_a_sentence(fields, level, kind, message):
    told = event_of("ft-1", v1.WatchJobResponse(number=7, **fields))
    assert (told["id"], told["level"], told["type"]) == ("ft-1-7", level, kind)
    assert told["message"] == message
    assert told["data"]["kind"] == next(iter(fields))
