"""DatasetService: reads a request, has it done in a thread, makes the reply."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pequod.common.v1 import Usage
from pequod.finetune import v1
from services.common import tenants
from services.common.errors import overloaded
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.work import Work
from services.finetune.datasets.dataset import Dataset
from services.finetune.datasets.service import Datasets
from services.finetune.datasets.serving import replies
from services.finetune.datasets.serving.request import (
    page_token,
    read_chunk,
    read_dataset_id,
    read_filters,
    read_import,
    read_page_token,
    read_start,
)
from services.finetune.datasets.uploads import Start, Stream
from services.finetune.request_fields import read_uuid

T = TypeVar("T")

MOST_UPLOADS = 32
"""Streams at a time; each holds a few chunks in memory and a file open."""
_LOOK = 0.25
"""Seconds between looks at an import that somebody follows."""


class DatasetServicer(v1.DatasetServiceServicer):
    """The RPCs about data sets. Uploads write in threads of their own, and never wait for queries."""

    def __init__(self, datasets: Datasets, work: Work) -> None:
        self._datasets = datasets
        self._work = work
        self._streams = 0
        self._writers = ThreadPoolExecutor(8, thread_name_prefix="upload")

    async def UploadDataset(
        self, request_iterator: AsyncIterator[v1.UploadDatasetRequest], context: Context
    ) -> v1.UploadDatasetResponse:
        """Bytes to disk as they come; a data set once all have."""
        began = time.monotonic()
        first = await anext(request_iterator, v1.UploadDatasetRequest())
        start = await self._in_thread(partial(read_start, first))
        if self._streams >= MOST_UPLOADS:
            raise overloaded(f"{MOST_UPLOADS} uploads are running", 1.0)
        self._streams += 1
        try:
            dataset = await self._receive(start, request_iterator, context)
        finally:
            self._streams -= 1
        self._datasets.worker.wake()
        usage = _usage(began, context)
        return v1.UploadDatasetResponse(dataset=replies.dataset_message(dataset), usage=usage)

    async def GetUpload(self, request: v1.GetUploadRequest, context: Context) -> v1.GetUploadResponse:
        """The offset to go on from."""
        upload_id = read_uuid("upload_id", request.upload_id)
        began = time.monotonic()
        standing = await self._run(
            partial(self._datasets.uploads.standing, tenants.current(), upload_id), context
        )
        return replies.upload_message(standing, _usage(began, context))

    async def ImportDataset(
        self, request: v1.ImportDatasetRequest, context: Context
    ) -> AsyncIterator[v1.ImportDatasetResponse]:
        """Begins an import, or finds it, and tells how it goes until it has ended."""
        began = time.monotonic()
        options, uri, request_id = read_import(request)
        create = partial(self._datasets.create_import, tenants.current(), options, uri, request_id)
        dataset = await self._run(create, context)
        self._datasets.worker.wake()
        told: Dataset | None = None
        while not dataset.ended:
            if dataset != told:
                message = replies.dataset_message(dataset)
                yield v1.ImportDatasetResponse(dataset=message, progress=replies.progress_message(dataset))
                told = dataset
            await asyncio.sleep(_LOOK)
            look = partial(self._datasets.records.get, tenants.current(), dataset.dataset_id)
            dataset = await self._run(look, context, begins=False)
        usage = _usage(began, context)
        yield v1.ImportDatasetResponse(dataset=replies.dataset_message(dataset), usage=usage)

    async def GetDataset(self, request: v1.GetDatasetRequest, context: Context) -> v1.GetDatasetResponse:
        """One data set."""
        dataset_id = read_dataset_id(request.dataset_id)
        began = time.monotonic()
        dataset = await self._run(partial(self._datasets.records.get, tenants.current(), dataset_id), context)
        return v1.GetDatasetResponse(
            dataset=replies.dataset_message(dataset),
            progress=replies.progress_message(dataset),
            usage=_usage(began, context),
        )

    async def ListDatasets(
        self, request: v1.ListDatasetsRequest, context: Context
    ) -> v1.ListDatasetsResponse:
        """A page, newest first."""
        size, kind, state = read_filters(request)
        after = read_page_token(request.page_token)
        began = time.monotonic()
        records = self._datasets.records
        page = await self._run(partial(records.page, tenants.current(), size, after, kind, state), context)
        return v1.ListDatasetsResponse(
            datasets=[replies.dataset_message(dataset, issues=False) for dataset in page.datasets],
            next_page_token=page_token(page.datasets[-1]) if page.more else "",
            used_bytes=page.used_bytes,
            quota_bytes=records.quota_bytes,
            usage=_usage(began, context),
        )

    async def DeleteDataset(
        self, request: v1.DeleteDatasetRequest, context: Context
    ) -> v1.DeleteDatasetResponse:
        """Forget it, and what only it held."""
        dataset_id = read_dataset_id(request.dataset_id)
        began = time.monotonic()
        freed = await self._run(partial(self._datasets.delete, tenants.current(), dataset_id), context)
        return v1.DeleteDatasetResponse(freed_bytes=freed, usage=_usage(began, context))

    async def close(self) -> None:
        """After the last call."""
        self._writers.shutdown()

    async def _receive(
        self, start: Start, requests: AsyncIterator[v1.UploadDatasetRequest], context: Context
    ) -> Dataset:
        async with self._opened(start) as stream:
            await accepted(context)
            if isinstance(stream, Dataset):
                return stream
            async for request in requests:
                chunk = read_chunk(request)
                await self._in_thread(partial(stream.write, chunk))
                self._datasets.metrics.upload_bytes.inc(len(chunk))
            return await self._in_thread(stream.finish)

    @contextlib.asynccontextmanager
    async def _opened(self, start: Start) -> AsyncIterator[Stream | Dataset]:
        stream = self._datasets.uploads.stream(tenants.current(), start)
        try:
            yield await self._in_thread(stream.__enter__)
        finally:
            # Also when the caller has left: what came is kept, and the next stream may have it.
            await asyncio.shield(self._in_thread(partial(stream.__exit__, None, None, None)))

    async def _in_thread(self, job: Callable[[], T]) -> T:
        """What ``job`` returns. A caller that leaves waits for it: nothing else may touch its file before."""
        running = asyncio.get_running_loop().run_in_executor(self._writers, job)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    async def _run(self, job: Callable[[], T], context: Context, begins: bool = True) -> T:
        if begins:
            await accepted(context)
        return (await self._work.run(job, deadline_of(context))).value


def _usage(began: float, context: Context) -> Usage:
    usage = Usage(compute_ms=(time.monotonic() - began) * 1e3)
    report(context, usage)
    return usage
