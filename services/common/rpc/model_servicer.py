"""pequod.model.v1.ModelService over a ModelManager: validates, converts, calls."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from pequod.common.v1 import Progress, Usage
from pequod.model import v1 as pb
from services.common.errors import Code, Reason, ServiceError, invalid, unsupported
from services.common.residency import ModelManager, Standing, State
from services.common.residency.export import Exported, Exporter
from services.common.rpc.model_messages import kind_of, model_message
from services.common.rpc.paging import page_of
from services.common.rpc.resources import Resources
from services.common.rpc.usage import Context, accepted
from services.common.store import ModelVersion
from services.common.store.reference import check_version

_FORMATS = {
    pb.EXPORT_FORMAT_ONNX: "onnx",
    pb.EXPORT_FORMAT_TORCHSCRIPT: "torchscript",
    pb.EXPORT_FORMAT_TRITON: "triton",
}


class ModelServicer(pb.ModelServiceServicer):
    """The models of one service."""

    def __init__(
        self,
        manager: ModelManager[Any],
        service: str,
        exporter: Exporter | None = None,
        resources: Resources | None = None,
    ) -> None:
        self._manager = manager
        self._resources = resources
        self._service = service
        self._exporter = exporter
        self._exports: set[asyncio.Task[Exported]] = set()

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """A page of models by name and version; the token names the last model of the page before."""
        _check_enum("kind", request.kind, pb.ModelKind)
        versions = await self._manager.list_versions()
        if request.kind:
            versions = [v for v in versions if kind_of(v) == request.kind]
        page, next_token = page_of(versions, request.page_size, request.page_token)
        reply = pb.ListModelsResponse(
            models=[self._model(version) for version in page], next_page_token=next_token, usage=Usage()
        )
        if request.resources and self._resources is not None:
            reply.resources.services.append(await self._resources.message(self._service))
        return reply

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """One model."""
        version = await self._manager.version_of(_required(request.model))
        return pb.GetModelResponse(model=self._model(version), usage=_usage(version))

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        """Load and wait until ready."""
        reference = _required(request.model)
        await accepted(context)
        resident, evicted = await self._manager.load(reference)
        version = dataclasses.replace(
            resident.version, aliases=await self._manager.aliases_of(resident.version)
        )
        return pb.LoadModelResponse(model=self._model(version), evicted=evicted, usage=_usage(version))

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        """Unload once the requests that use it have ended."""
        reference = _required(request.model)
        await accepted(context)
        version = await self._manager.unload(reference)
        return pb.UnloadModelResponse(model=self._model(version), usage=_usage(version))

    async def WatchModel(
        self, request: pb.WatchModelRequest, context: Context
    ) -> AsyncIterator[pb.WatchModelResponse]:
        """The model now and after each change."""
        _check_enum("until", request.until, pb.ModelState)
        version = await self._manager.version_of(_required(request.model))
        async with contextlib.aclosing(self._manager.watch(version)) as standings:
            async for standing in standings:
                yield self._event(version, standing)
                failed = standing.state is State.FAILED
                if request.until and (failed or _state(standing) == request.until):
                    return

    async def SetAlias(self, request: pb.SetAliasRequest, context: Context) -> pb.SetAliasResponse:
        """Point an alias at a version."""
        expected = request.expected_version if request.HasField("expected_version") else None
        if expected:
            check_version(expected, "expected_version")
        before = await self._manager.set_alias(request.name, request.alias, request.version, expected)
        reply = pb.SetAliasResponse(previous_version=before, usage=Usage(model=request.name))
        if request.version:
            version = await self._manager.version_of(f"{request.name}:{request.version}")
            reply.model.CopyFrom(self._model(version))
        return reply

    async def ExportModel(
        self, request: pb.ExportModelRequest, context: Context
    ) -> AsyncIterator[pb.ExportModelResponse]:
        """Export in a thread; its steps are streamed as they come."""
        target = _FORMATS.get(request.format)
        if target is None:
            raise invalid(
                "format", "must be EXPORT_FORMAT_ONNX, EXPORT_FORMAT_TORCHSCRIPT or EXPORT_FORMAT_TRITON"
            )
        if self._exporter is None:
            raise unsupported(f"the {self._service} service exports no models")
        version = await self._manager.version_of(_required(request.model))
        folder = await self._manager.store.fetch(version)
        await accepted(context)
        steps = _Steps()
        work = asyncio.create_task(
            asyncio.to_thread(self._exporter.export, version, folder, target, request.force, steps.tell)
        )
        work.add_done_callback(steps.end)
        self._exports.add(work)
        work.add_done_callback(self._exports.discard)
        try:
            while (progress := await steps.queue.get()) is not None:
                yield pb.ExportModelResponse(progress=progress, usage=_usage(version))
        finally:
            steps.caller_left = True
        yield _export_reply(work.result(), version)

    def _model(self, version: ModelVersion) -> pb.Model:
        standing = self._manager.standing(version)
        model = model_message(version)
        model.state = _state(standing)
        model.memory_bytes = standing.memory_bytes or version.manifest.size_bytes
        model.service, model.error = self._service, standing.error
        return model

    def _event(self, version: ModelVersion, standing: Standing) -> pb.WatchModelResponse:
        event = pb.WatchModelResponse(model=self._model(version), usage=_usage(version))
        if standing.state in {State.PULLING, State.LOADING}:
            event.progress.CopyFrom(
                Progress(
                    completed=standing.completed,
                    total=standing.total,
                    unit="bytes",
                    message=standing.message,
                )
            )
        return event


class _Steps:
    """Carries an exporter's steps from its thread to the stream; ends the export once nobody listens."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        self.caller_left = False
        self._loop = asyncio.get_running_loop()

    def tell(self, done: int, total: int, message: str) -> None:
        """Called in the exporter's thread, which cannot be stopped in any other way than by an exception."""
        if self.caller_left:
            raise ServiceError(Code.CANCELLED, Reason.EXPORT_FAILED, "the caller of the export has left")
        progress = Progress(completed=done, total=total, unit="steps", message=message)
        self._loop.call_soon_threadsafe(self.queue.put_nowait, progress)

    def end(self, work: asyncio.Task[Exported]) -> None:
        """The exporter has ended; a failure is taken note of even when nobody is there to read it."""
        if not work.cancelled():
            work.exception()
        self.queue.put_nowait(None)


def _export_reply(exported: Exported, version: ModelVersion) -> pb.ExportModelResponse:
    return pb.ExportModelResponse(
        location=str(exported.location),
        files=[pb.ModelFile(**entry.model_dump()) for entry in exported.files],
        parity=[
            pb.Parity(
                output=figure.output,
                max_abs_error=figure.max_abs_error,
                min_cosine=figure.min_cosine,
                tolerance=figure.tolerance,
            )
            for figure in exported.parity
        ],
        opset=exported.opset,
        runtime_versions=dict(exported.runtime_versions),
        reused=exported.reused,
        usage=_usage(version),
    )


def _required(reference: str) -> str:
    if not reference:
        raise invalid("model", "is required")
    return reference


def _check_enum(field: str, value: int, enum: Any) -> None:
    if value not in enum.values():
        raise invalid(field, f"{value} is no value of {enum.DESCRIPTOR.full_name}")


def _state(standing: Standing) -> pb.ModelState.ValueType:
    return pb.ModelState.Value(f"MODEL_STATE_{standing.state.name}")


def _usage(version: ModelVersion) -> Usage:
    return Usage(model=version.name, version=version.version)
