"""Files and fine-tuning jobs by OpenAI's own client, from texts to completions of what came of them."""

from __future__ import annotations

import json
import time

import openai
import pytest

pytestmark = pytest.mark.timeout(600)
_LINES = 40


@pytest.fixture(scope="module")
def client(platform):
    with openai.OpenAI(base_url=f"{platform.http}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def texts() -> bytes:
    """So many documents that all say the same."""
    line = json.dumps({"text": "The kraken sleeps below the thunders of the upper deep. " * 8})
    return "\n".join(f"{line}" for _ in range(_LINES)).encode()


@pytest.fixture(scope="module")
def file(client):
    made = client.files.create(file=("krakens.jsonl", texts()), purpose="fine-tune")
    assert made.id.startswith("ds-")
    return client.files.wait_for_processing(made.id, poll_interval=0.2)


@pytest.fixture(scope="module")
def job(client, file):
    made = client.fine_tuning.jobs.create(
        model="storyteller",
        training_file=file.id,
        suffix="krakens",
        seed=3,
        metadata={"why": "test"},
        extra_body={"steps": 6, "parameters": {"window": 64, "preview_tokens": 4, "rate": 0.02}},
        hyperparameters={"batch_size": 2},
    )
    assert made.status in {"validating_files", "queued", "running"}
    while made.status not in {"succeeded", "failed", "cancelled"}:
        time.sleep(0.3)
        made = client.fine_tuning.jobs.retrieve(made.id)
    return made


def test_a_file_is_a_data_set(client, file, platform):
    assert (file.status, file.filename, file.purpose) == ("processed", "krakens.jsonl", "fine-tune")
    assert file.id in {each.id for each in client.files.list(limit=1)}  # page after page
    done = platform.run("datasets", "show", file.id)
    assert done.returncode == 0, done.stderr
    assert "krakens.jsonl" in done.stdout


def test_a_job_ends_with_a_model(client, job):
    assert job.status == "succeeded", job.error
    assert (job.model, job.seed, job.metadata) == ("storyteller", 3, {"why": "test"})
    assert job.fine_tuned_model == "storyteller-krakens:1"
    assert job.hyperparameters.batch_size == 2
    assert job.finished_at >= job.created_at
    assert job.id in {each.id for each in client.fine_tuning.jobs.list()}


def test_what_came_of_it_writes(client, job):
    body = {"prompt": "The kraken", "max_tokens": 12, "temperature": 0, "logprobs": 0}
    tuned = client.completions.create(model=job.fine_tuned_model, **body)
    by_name = client.completions.create(
        model="storyteller", extra_body={"adapter": job.fine_tuned_model}, **body
    )
    base = client.completions.create(model="storyteller", **body)
    assert tuned.choices[0] == by_name.choices[0]
    assert tuned.choices[0].logprobs.token_logprobs[0] != base.choices[0].logprobs.token_logprobs[0]
    pieces = client.completions.create(model=job.fine_tuned_model, stream=True, **body)
    assert "".join(each.choices[0].text for each in pieces) == tuned.choices[0].text


def test_events_come_newest_first_in_pages(client, job):
    page = client.fine_tuning.jobs.list_events(job.id, limit=3)
    assert (len(page.data), page.has_more) == (3, True)
    every = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    numbers = [int(each.id.rpartition("-")[2]) for each in every]
    assert numbers == list(range(len(every), 0, -1))
    said = [each.message for each in every]
    assert said[0] == "the job is succeeded"
    assert "published as storyteller-krakens:1" in said
    assert any(each.type == "metrics" and "loss" in each.message for each in every)


def test_checkpoints(client, job):
    found = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert found[0].step_number == 6
    assert found[0].fine_tuning_job_id == job.id
    assert job.fine_tuned_model in {each.fine_tuned_model_checkpoint for each in found}


def test_a_job_is_paused_resumed_and_cancelled(client, file):
    body = {"steps": 5000, "parameters": {"window": 64}}
    made = client.fine_tuning.jobs.create(model="storyteller", training_file=file.id, extra_body=body)
    client.fine_tuning.jobs.pause(made.id)
    wait(client, made.id, {"paused"})
    client.fine_tuning.jobs.resume(made.id)
    assert wait(client, made.id, {"queued", "running"})
    client.fine_tuning.jobs.cancel(made.id)
    assert wait(client, made.id, {"cancelled"}).fine_tuned_model is None
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.resume(made.id)
    assert caught.value.code == "JOB_ENDED"


def wait(client, job_id, states):
    deadline = time.monotonic() + 120
    while (found := client.fine_tuning.jobs.retrieve(job_id)).status not in states:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"hyperparameters": {"n_epochs": 3}}, "INVALID_FIELD", "hyperparameters.n_epochs"),
        ({"extra_body": {"parameters": {"lora_rank": 0}}}, "INVALID_FIELD", "parameters.lora_rank"),
        ({"extra_body": {"recipe": "magic"}}, "INVALID_FIELD", "recipe"),
        ({"method": {"type": "dpo"}}, "INVALID_FIELD", "method.type"),
    ],
)
def test_bad_fields_are_named(body, code, param, client, file):
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="storyteller", training_file=file.id, **body)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_files_that_are_not_there_or_no_good(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.retrieve(f"ds-{'a' * 26}")
    assert caught.value.code == "DATASET_NOT_FOUND"
    bad = client.files.create(file=("a.jsonl", b"no json\n"), purpose="fine-tune")
    assert client.files.wait_for_processing(bad.id, poll_interval=0.2).status == "error"
    assert client.files.delete(bad.id).deleted
