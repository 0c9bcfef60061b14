"""Files as callers have them, and how they send them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import uuid
import zipfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from pequod.finetune import v1
from services.common.metrics import Metrics
from services.common.store.settings import StoreSettings
from services.finetune.__main__ import FinetuneProcess
from services.finetune.database.settings import open_database
from services.finetune.orchestrator.executors.cluster.opening import open_cluster
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.settings import FinetuneSettings
from tests.unit.serving import serving

ENDED = (v1.DATASET_STATE_READY, v1.DATASET_STATE_FAILED)


def picture(seed: int = 0, size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    """A picture of its own for each seed: coarse coloured noise, so that no two look alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def chat(*contents: str) -> bytes:
    """A line of a conversation that takes turns."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": content} for at, content in enumerate(contents)]
    return json.dumps({"messages": messages}).encode() + b"\n"


def start_of(files: Mapping[str, bytes], hashes: bool = True, **fields) -> v1.UploadStart:
    """The first message of an upload of ``files``."""
    listed = [
        v1.UploadFile(
            path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest() if hashes else ""
        )
        for path, data in files.items()
    ]
    return v1.UploadStart(**{"upload_id": str(uuid.uuid4()), "files": listed, **fields})


def requests_of(start: v1.UploadStart, data: bytes, chunk: int = 1 << 20):
    """The messages of a stream that sends ``data`` from the start's offset on."""
    yield v1.UploadDatasetRequest(start=start)
    for at in range(0, len(data), chunk):
        yield v1.UploadDatasetRequest(chunk=data[at : at + chunk])


async def upload(stub: v1.DatasetServiceStub, files: Mapping[str, bytes], **fields) -> v1.Dataset:
    """Send ``files`` and wait for the end of their check."""
    start = start_of(files, **fields)
    reply = await stub.UploadDataset(requests_of(start, b"".join(files.values())))
    return await ended(stub, reply.dataset.dataset_id)


async def ended(stub: v1.DatasetServiceStub, dataset_id: str) -> v1.Dataset:
    """The data set, once its check has ended."""
    async with asyncio.timeout(240):
        while True:
            dataset = (await stub.GetDataset(v1.GetDatasetRequest(dataset_id=dataset_id))).dataset
            if dataset.state in ENDED:
                return dataset
            await asyncio.sleep(0.02)


def problems(dataset: v1.Dataset) -> dict[str, str]:
    """What the report says is wrong, by path."""
    return {
        issue.path: v1.FileProblem.Name(issue.problem).removeprefix("FILE_PROBLEM_").lower()
        for issue in dataset.report.issues
    }


@contextlib.asynccontextmanager
async def running(
    url: str,
    folder: Path,
    jobs: JobSettings | None = None,
    cluster: ClusterSettings | None = None,
    store: str = "",
    **fields,
) -> AsyncIterator[tuple[v1.DatasetServiceStub, FinetuneProcess]]:
    """The service on the database at ``url``, with its files under ``folder``, behind a real server.

    ``store``: a URL for models in place of a folder.
    """
    settings = FinetuneSettings(**{"datasets": str(folder / "datasets"), "work": folder / "work", **fields})
    models = StoreSettings(
        user=store or str(folder / "models"), cache=folder / "cache", file_roots=(folder / "allowed",)
    )
    metrics = Metrics("finetune")
    chosen = jobs or JobSettings(nice=0, job_threads=1)
    database, executor = open_database(url), None
    if cluster is not None:
        executor = open_cluster(cluster, (settings, models, chosen), database, os.environ)
    process = FinetuneProcess(settings, chosen, models, database, metrics, executor)
    async with serving(process, metrics) as channel:
        stub = v1.DatasetServiceStub(channel)
        stub.channel = channel  # for stubs of the other service
        yield stub, process


def kept_files(folder: Path) -> list[Path]:
    """Files of content."""
    return [path for path in (folder / "datasets").rglob("*") if path.is_file()]
