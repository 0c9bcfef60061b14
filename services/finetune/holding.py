"""What the fine-tune service holds of its machine: data sets, jobs' files, memory of jobs at work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio

from pequod.common.v1 import Usage
from pequod.model import v1 as pb
from services.common.catalogue import MODEL_SERVICE
from services.common.rpc.resources import Folder, Resources
from services.common.rpc.usage import Context
from services.common.store.settings import StoreSettings
from services.common.upkeep.sizes import size_of
from services.finetune.settings import FinetuneSettings


def resources_of(settings: FinetuneSettings, models: StoreSettings, memory: Callable[[], int]) -> Resources:
    """``memory``: bytes that jobs hold here. Data sets behind a URL lie on no disk of this machine."""
    folders = {"work": Folder(settings.work), "checkpoints": Folder(settings.work, size=checkpoint_bytes)}
    if "://" not in settings.datasets:
        folders["datasets"] = Folder(Path(settings.datasets), settings.quota_bytes)
    return Resources((), models, folders, memory)


def checkpoint_bytes(work: Path) -> int:
    """Bytes of all jobs' candidates, which stay until their job is deleted."""
    return sum(size_of(folder) for folder in (work / "jobs").glob("*/*/work/candidates"))


def add_holding(server: grpc.aio.Server, resources: Resources, service: str) -> None:
    """Answer ModelService/ListModels: no models, but what is held. Its other methods are not there."""

    async def list_models(request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        reply = pb.ListModelsResponse(usage=Usage())
        if request.resources:
            reply.resources.services.append(await resources.message(service))
        return reply

    handler = grpc.unary_unary_rpc_method_handler(
        list_models,
        request_deserializer=pb.ListModelsRequest.FromString,
        response_serializer=pb.ListModelsResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(MODEL_SERVICE, {"ListModels": handler}),)
    )
