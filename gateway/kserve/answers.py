"""What the server says of itself and of its models, for both doors: an RPC a method, messages in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.call import BackendError
from gateway.caller import Caller
from gateway.kserve import messages
from gateway.kserve.models import Models
from gateway.kserve.statistics import Statistics
from gateway.routes.errors import status_of
from inference import (
    ModelConfigRequest,
    ModelConfigResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ModelStatisticsRequest,
    ModelStatisticsResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from services.common.errors import Code, ServiceError, unsupported

_UNLOAD_DEPENDENTS = "unload_dependents"
"""No model here depends on another; clients send it always."""


class Answers:
    """All but inference. Methods raise ServiceError or BackendError."""

    def __init__(self, models: Models, statistics: Statistics, is_ready: Callable[[], bool]) -> None:
        self._models, self._statistics, self._is_ready = models, statistics, is_ready

    async def server_live(self, _: ServerLiveRequest, __: Caller) -> ServerLiveResponse:
        """It answers."""
        return ServerLiveResponse(live=True)

    async def server_ready(self, _: ServerReadyRequest, __: Caller) -> ServerReadyResponse:
        """Whether all services can be reached."""
        return ServerReadyResponse(ready=self._is_ready())

    async def server_metadata(self, _: ServerMetadataRequest, __: Caller) -> ServerMetadataResponse:
        """What it is, and which extensions it has."""
        return messages.server_message()

    async def model_ready(self, request: ModelReadyRequest, caller: Caller) -> ModelReadyResponse:
        """Whether the model is in memory; one that is not there is not ready."""
        try:
            served = await self._models.get(request.name, request.version, caller)
        except (ServiceError, BackendError) as error:
            if status_of(error, caller.request_id).code != Code.NOT_FOUND:
                raise
            return ModelReadyResponse(ready=False)
        return ModelReadyResponse(ready=messages.state_of(served.model) == messages.READY)

    async def model_metadata(self, request: ModelMetadataRequest, caller: Caller) -> ModelMetadataResponse:
        """Its inputs and outputs."""
        served, kind = await self._models.describe(request.name, request.version, caller)
        versions = await self._models.versions(served, caller)
        return messages.metadata_message(request.name, versions, kind)

    async def model_config(self, request: ModelConfigRequest, caller: Caller) -> ModelConfigResponse:
        """Its configuration."""
        _, kind = await self._models.describe(request.name, request.version, caller)
        return ModelConfigResponse(config=messages.config_message(request.name, kind))

    async def model_statistics(
        self, request: ModelStatisticsRequest, caller: Caller
    ) -> ModelStatisticsResponse:
        """What a model did, or every one that the caller may see."""
        if request.name:
            models = [(await self._models.get(request.name, request.version, caller)).model]
        else:
            models = await self._models.every(caller)
        counted = ((model, self._statistics.of(model.name, model.version)) for model in models)
        return ModelStatisticsResponse(model_stats=[messages.statistics_message(*each) for each in counted])

    async def repository_index(
        self, request: RepositoryIndexRequest, caller: Caller
    ) -> RepositoryIndexResponse:
        """The models that have a form as tensors; with ``ready`` those in memory."""
        if request.repository_name:
            raise _one_repository(request.repository_name)
        found = [messages.index_message(model) for model in await self._models.every(caller)]
        kept = [each for each in found if not request.ready or each.state == messages.READY]
        return RepositoryIndexResponse(models=kept)

    async def repository_model_load(
        self, request: RepositoryModelLoadRequest, caller: Caller
    ) -> RepositoryModelLoadResponse:
        """Load a model, and wait until it is ready."""
        name = _name(request)
        _check_parameters(request.parameters)
        await self._models.load(name, caller)
        return RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def repository_model_unload(
        self, request: RepositoryModelUnloadRequest, caller: Caller
    ) -> RepositoryModelUnloadResponse:
        """Unload a model once the requests that use it have ended."""
        name = _name(request)
        _check_parameters(request.parameters)
        await self._models.unload(name, caller)
        return RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)


def _name(request: RepositoryModelLoadRequest | RepositoryModelUnloadRequest) -> str:
    """The model's name, which KServe's clients put where Triton's put the repository's."""
    if request.repository_name and request.model_name:
        raise _one_repository(request.repository_name)
    return request.model_name or request.repository_name


def _one_repository(name: str) -> ServiceError:
    return unsupported(f"repository {name!r}: there is one repository, and it has no name")


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    for name in parameters:
        if name != _UNLOAD_DEPENDENTS:
            raise unsupported(f"parameters.{name}: a model is loaded as its version in the store has it")
