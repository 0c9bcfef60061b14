"""FineTuneService: reads a request, has it done in a thread, makes the reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

from pequod.common.v1 import Usage
from pequod.finetune import v1
from services.common import tenants
from services.common.rpc.fields import enum
from services.common.rpc.model_messages import model_message
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.store.reference import check_alias, check_name, check_version
from services.common.tracing import spans
from services.common.work import Work
from services.finetune.jobs.job import Job
from services.finetune.jobs.service import Jobs
from services.finetune.jobs.serving import replies
from services.finetune.jobs.serving.events import event_message
from services.finetune.jobs.serving.request import (
    PREFIX,
    checkpoint_page,
    job_token,
    read_checkpoint_id,
    read_filter,
    read_job_id,
    read_order,
    read_request_id,
)
from services.finetune.jobs.serving.spec import asked
from services.finetune.jobs.states import ENDED
from services.finetune.report.page import html
from services.finetune.report.picture import png
from services.finetune.request_fields import read_page_size, read_place

T = TypeVar("T")

_LOOK = 0.25
"""Seconds between looks at a job that somebody follows."""
_AT_ONCE = 200
"""Events that are read together."""
_WRITERS = {v1.REPORT_FORMAT_HTML: html, v1.REPORT_FORMAT_PNG: png}


class FineTuneServicer(v1.FineTuneServiceServicer):
    """The RPCs about jobs."""

    def __init__(self, jobs: Jobs, work: Work) -> None:
        self._jobs, self._work = jobs, work

    async def CreateJob(self, request: v1.CreateJobRequest, context: Context) -> v1.CreateJobResponse:
        """A job, or a forecast."""
        began = time.monotonic()
        request_id = read_request_id(request.request_id)
        spec = self._jobs.reader.read(request.spec)
        if request.validate_only:
            await self._run(partial(self._jobs.examiner.examine, tenants.current(), spec), context)
            forecast = await self._jobs.forecast(tenants.current(), spec)
            return v1.CreateJobResponse(
                job=v1.Job(spec=replies.spec_message(spec)),
                forecast=replies.forecast_message(forecast),
                usage=_usage(began, context),
            )
        create = partial(
            self._jobs.create, tenants.current(), spec, request_id, asked(request.spec), spans.headers()
        )
        job, existed = await self._run(create, context)
        self._jobs.orchestrator.wake()
        return v1.CreateJobResponse(
            job=replies.job_message(job), existed=existed, usage=_usage(began, context)
        )

    async def GetJob(self, request: v1.GetJobRequest, context: Context) -> v1.GetJobResponse:
        """One job, with a report when asked for."""
        began, job_id = time.monotonic(), read_job_id(request.job_id)
        enum("report_format", request.report_format, v1.ReportFormat)
        job = await self._run(partial(self._jobs.records.get, tenants.current(), job_id), context)
        reply = v1.GetJobResponse(job=replies.job_message(job))
        if write := _WRITERS.get(request.report_format):
            make = partial(self._jobs.report, tenants.current(), job_id, write)
            data = await self._run(make, context, begins=False)
            reply.report.CopyFrom(v1.Report(format=request.report_format, data=data))
        reply.usage.CopyFrom(_usage(began, context))
        return reply

    async def ListJobs(self, request: v1.ListJobsRequest, context: Context) -> v1.ListJobsResponse:
        """A page, newest first."""
        began, size = time.monotonic(), read_page_size(request.page_size)
        after, only = read_place(request.page_token, PREFIX), read_filter(request)
        page = await self._run(
            partial(self._jobs.records.page, tenants.current(), size, after, only), context
        )
        return v1.ListJobsResponse(
            jobs=[replies.job_message(job) for job in page.jobs],
            next_page_token=job_token(page.jobs[-1]) if page.more else "",
            usage=_usage(began, context),
        )

    async def WatchJob(
        self, request: v1.WatchJobRequest, context: Context
    ) -> AsyncIterator[v1.WatchJobResponse]:
        """Events past and future; after the last one of a job that has ended, what the call used."""
        began, job_id, seen = time.monotonic(), read_job_id(request.job_id), request.after_event
        folder = self._jobs.folder(tenants.current(), job_id)
        read = folder.preview if request.previews else replies.no_pictures
        await accepted(context)
        while True:
            look = partial(self._jobs.records.events, tenants.current(), job_id, seen, _AT_ONCE)
            with spans.untraced():  # a span for each look would say nothing
                found, job = await self._run(look, context, begins=False)
            for event in found:
                yield await asyncio.to_thread(event_message, event, read)
                seen = event.number
            if not found and job.state in ENDED:
                break
            if len(found) < _AT_ONCE and job.state not in ENDED:
                await asyncio.sleep(_LOOK)
        usage = Usage(compute_ms=(time.monotonic() - began) * 1e3, steps=job.step)
        report(context, usage)
        yield v1.WatchJobResponse(usage=usage)

    async def CancelJob(self, request: v1.CancelJobRequest, context: Context) -> v1.CancelJobResponse:
        """Its worker hears of it at once; one that is no child of this process, within a second."""
        job, usage = await self._wish(self._jobs.records.cancel, request.job_id, context)
        return v1.CancelJobResponse(job=replies.job_message(job), usage=usage)

    async def PauseJob(self, request: v1.PauseJobRequest, context: Context) -> v1.PauseJobResponse:
        """Its worker hears of it at once; one that is no child of this process, within a second."""
        job, usage = await self._wish(self._jobs.records.pause, request.job_id, context)
        return v1.PauseJobResponse(job=replies.job_message(job), usage=usage)

    async def ResumeJob(self, request: v1.ResumeJobRequest, context: Context) -> v1.ResumeJobResponse:
        """Into the queue again."""
        job, usage = await self._wish(self._jobs.records.resume, request.job_id, context)
        return v1.ResumeJobResponse(job=replies.job_message(job), usage=usage)

    async def ListCheckpoints(
        self, request: v1.ListCheckpointsRequest, context: Context
    ) -> v1.ListCheckpointsResponse:
        """A page, by rank or by step."""
        began, job_id = time.monotonic(), read_job_id(request.job_id)
        read_order(request)
        tenant = tenants.current()  # not known in the thread

        def task() -> v1.ListCheckpointsResponse:
            self._jobs.records.get(tenant, job_id)
            found = self._jobs.checkpoints.all(tenant, job_id)
            page, token = checkpoint_page(request, found)
            places = replies.places_of(found)
            folder = self._jobs.folder(tenant, job_id)
            read = folder.preview if request.previews else replies.no_pictures
            messages = [replies.checkpoint_message(each, places[each.step], read) for each in page]
            return v1.ListCheckpointsResponse(checkpoints=messages, next_page_token=token)

        reply = await self._run(task, context)
        reply.usage.CopyFrom(_usage(began, context))
        return reply

    async def PromoteCheckpoint(
        self, request: v1.PromoteCheckpointRequest, context: Context
    ) -> v1.PromoteCheckpointResponse:
        """Publish it, and move the alias."""
        began, job_id = time.monotonic(), read_job_id(request.job_id)
        name = check_name(request.name, "name") if request.name else ""
        alias = check_alias(request.alias, "alias") if request.alias else ""
        expected = request.expected_version if request.HasField("expected_version") else None
        if expected:
            check_version(expected, "expected_version")
        checkpoint_id = read_checkpoint_id(request.checkpoint_id)
        promote = partial(self._jobs.promote, tenants.current(), job_id, checkpoint_id, name, alias, expected)
        promoted, checkpoint = await self._run(promote, context)
        return v1.PromoteCheckpointResponse(
            model=model_message(promoted.version),
            checkpoint=replies.checkpoint_message(checkpoint, {}),
            previous_version=promoted.previous_version,
            usage=_usage(began, context),
        )

    async def DeleteJob(self, request: v1.DeleteJobRequest, context: Context) -> v1.DeleteJobResponse:
        """Forget it."""
        began, job_id = time.monotonic(), read_job_id(request.job_id)
        freed = await self._run(partial(self._jobs.delete, tenants.current(), job_id), context)
        return v1.DeleteJobResponse(freed_bytes=freed, usage=_usage(began, context))

    async def _wish(
        self, wish: Callable[[str, str], Job], job_id: str, context: Context
    ) -> tuple[Job, Usage]:
        began, checked = time.monotonic(), read_job_id(job_id)
        tenant = tenants.current()
        job = await self._run(partial(wish, tenant, checked), context)
        self._jobs.orchestrator.nudge(tenant, checked)
        return job, _usage(began, context)

    async def _run(self, job: Callable[[], T], context: Context, begins: bool = True) -> T:
        if begins:
            await accepted(context)
        return (await self._work.run(job, deadline_of(context))).value


def _usage(began: float, context: Context) -> Usage:
    usage = Usage(compute_ms=(time.monotonic() - began) * 1e3)
    report(context, usage)
    return usage
