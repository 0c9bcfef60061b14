"""Requests of FineTuneService and DatasetService, read as their servicers read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pequod.finetune import v1
from services.finetune.datasets.importing.opening import open_source
from services.finetune.datasets.importing.source import Allowed
from services.finetune.datasets.serving import request as datasets
from services.finetune.jobs.job import Resources
from services.finetune.jobs.serving import request as jobs
from services.finetune.jobs.serving.spec import SpecReader, asked
from services.finetune.request_fields import read_page_size, read_place
from services.finetune.webhooks.addresses import Addresses
from tests.fuzz.filling import message_of, sent

REFUSALS = ()
JOB, DATASET = "ft-" + "a" * 26, "ds-" + "b" * 26
UPLOAD = "0a0a0a0a-0b0b-4c4c-8d8d-0e0e0e0e0e0e"
WORDS = (
    *rb"""
        ngram lora_lm dreambooth order rate steps quick https://example.com/hook file:///data/a ../a.png
        a.png s3://bucket/a
    """.split(),
    *(JOB.encode(), DATASET.encode(), UPLOAD.encode()),
)
KINDS = (
    *(v1.CreateJobRequest, v1.ListJobsRequest, v1.ListCheckpointsRequest, v1.GetJobRequest),
    *(v1.UploadDatasetRequest, v1.ImportDatasetRequest, v1.ListDatasetsRequest, v1.GetUploadRequest),
)
_ALLOWED = Allowed((Path("/data"),), ("https://", "s3://bucket"))


def run(data: bytes) -> None:
    request = message_of(data, KINDS, WORDS)
    if request is not None:
        _READERS[type(request)](request)


def _job(request) -> None:
    jobs.read_request_id(request.request_id)
    SpecReader(Addresses(private=False), lambda recipe, executor: Resources()).read(request.spec)
    asked(request.spec)


def _jobs(request) -> None:
    jobs.read_filter(request)
    read_page_size(request.page_size)
    read_place(request.page_token, jobs.PREFIX)


def _checkpoints(request) -> None:
    jobs.read_job_id(request.job_id)
    jobs.checkpoint_page(request, [])


def _one_job(request) -> None:
    jobs.read_job_id(request.job_id)


def _upload(request) -> None:
    if request.WhichOneof("part") == "chunk":
        datasets.read_chunk(request)
    else:
        datasets.read_start(request)


def _import(request) -> None:
    _, uri, _ = datasets.read_import(request)
    open_source(uri, _ALLOWED)


def _datasets(request) -> None:
    datasets.read_filters(request)
    datasets.read_page_token(request.page_token)


def _upload_id(request) -> None:
    datasets.read_uuid("upload_id", request.upload_id)


_READERS = dict(
    zip(
        KINDS,
        (_job, _jobs, _checkpoints, _one_job, _upload, _import, _datasets, _upload_id),
        strict=True,
    )
)


def seeds() -> Iterable[bytes]:
    spec = v1.JobSpec(recipe="ngram", dataset_id=DATASET, steps=3, seed=1, labels={"a": "b"}, priority=2)
    spec.parameters.update({"order": 2, "rate": 0.1, "nested": {"a": [1, "b", None]}})
    spec.webhooks.add(url="https://example.com/hook", secret="s" * 16, states=[v1.JOB_STATE_FAILED])
    spec.output.name = "mine"
    spec.resources.cpu_cores = 2
    file = v1.UploadFile(path="a/b.png", size_bytes=3, sha256="0" * 64)
    for request in (
        v1.CreateJobRequest(request_id=UPLOAD, spec=spec),
        v1.CreateJobRequest(spec=v1.JobSpec(recipe="lora_lm", base="storyteller", dataset_id=DATASET)),
        v1.ListJobsRequest(page_size=3, page_token="WzEsICJhIl0=", states=[1]),
        v1.ListCheckpointsRequest(job_id=JOB, page_token="MQ==", previews=True),
        v1.GetJobRequest(job_id=JOB),
        v1.UploadDatasetRequest(start=v1.UploadStart(upload_id=UPLOAD, files=[file], display_name="d")),
        v1.UploadDatasetRequest(chunk=b"abc"),
        v1.ImportDatasetRequest(uri="https://example.com/a.zip", request_id=UPLOAD),
        v1.ImportDatasetRequest(uri="file:///data/a"),
        v1.ListDatasetsRequest(page_size=2, page_token="WzEsICJhIl0="),
        v1.GetUploadRequest(upload_id=UPLOAD),
    ):
        yield sent(request, KINDS)
