"""The endpoints under ``/v2``, in one table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from google.protobuf.message import Message
from pydantic import Field
from starlette.routing import BaseRoute, Route

import inference as pb
from gateway.caller import Caller
from gateway.kserve.answers import Answers
from gateway.kserve.core import Core
from gateway.kserve.generate import generated, generated_stream
from gateway.kserve.messages import plain
from gateway.kserve.rest_door import Answer, Asked, Endpoint, Events, RestDoor
from gateway.kserve.rest_wire import HEADER_LENGTH, body_of, request_of, to_json
from gateway.kserve.weighing import weighed
from gateway.methods import Method
from gateway.openai.body import Fields, read
from gateway.pipeline import Proceed
from gateway.routes.body import parse
from services.common.errors import Code, Reason, ServiceError

_MODEL = "/v2/models/{model:path}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_REPOSITORY = "/v2/repository/models/{model:path}"
_GET, _POST = "GET", "POST"
_NOT_OFFERED = (
    *(f"/v2/{name}/{{rest:path}}" for name in ("systemsharedmemory", "cudasharedmemory", "trace")),
    *("/v2/logging", f"{_MODEL}/trace/setting"),
)

Row: TypeAlias = "tuple[str, str, Endpoint]"
"""HTTP method, path, endpoint."""


class IndexBody(Fields):
    """Which models to list."""

    ready: bool = False


class RepositoryBody(Fields):
    """How to load or unload."""

    parameters: dict[str, Any] = Field(default_factory=dict)


def routes(core: Core, answers: Answers, methods: Mapping[str, Method], pipeline: Proceed) -> list[BaseRoute]:
    """All of them; of two that match the first one answers."""
    table = [
        *_server(answers),
        *_repository(answers),
        *(("", path, _not_offered) for path in _NOT_OFFERED),
        *_models(core, answers),
    ]
    return [Route(path, RestDoor(endpoint, verb, methods, pipeline)) for verb, path, endpoint in table]


def nothing(methods: Mapping[str, Method], pipeline: Proceed) -> RestDoor:
    """The answer for every other path under ``/v2``."""
    return RestDoor(_nothing, "", methods, pipeline)


def _server(answers: Answers) -> list[Row]:
    metadata = _told(lambda _, caller: answers.server_metadata(pb.ServerMetadataRequest(), caller))

    async def live(_: Asked, caller: Caller) -> Answer:
        return _plain(await answers.server_live(pb.ServerLiveRequest(), caller))

    async def ready(_: Asked, caller: Caller) -> Answer:
        reply = await answers.server_ready(pb.ServerReadyRequest(), caller)
        return _plain(reply, 200 if reply.ready else 503)

    return [
        *((_GET, path, metadata) for path in ("/v2", "/v2/")),
        (_GET, "/v2/health/live", live),
        (_GET, "/v2/health/ready", ready),
    ]


def _repository(answers: Answers) -> list[Row]:
    async def index(asked: Asked, caller: Caller) -> Answer:
        request = pb.RepositoryIndexRequest(ready=read(IndexBody, parse(asked.body)).ready)
        reply = await answers.repository_index(request, caller)
        return Answer(to_json([plain(each) for each in reply.models]))

    async def load(asked: Asked, caller: Caller) -> Answer:
        request = pb.RepositoryModelLoadRequest(model_name=asked.path["model"], parameters=_named(asked))
        return _plain(await answers.repository_model_load(request, caller))

    async def unload(asked: Asked, caller: Caller) -> Answer:
        request = pb.RepositoryModelUnloadRequest(model_name=asked.path["model"], parameters=_named(asked))
        return _plain(await answers.repository_model_unload(request, caller))

    return [
        (_POST, "/v2/repository/index", index),
        (_POST, f"{_REPOSITORY}/load", load),
        (_POST, f"{_REPOSITORY}/unload", unload),
    ]


def _named(asked: Asked) -> dict[str, pb.ModelRepositoryParameter]:
    """The parameters of a load or an unload; their names alone decide what comes of them."""
    given = read(RepositoryBody, parse(asked.body)).parameters
    return {name: pb.ModelRepositoryParameter(bool_param=True) for name in given}


def _models(core: Core, answers: Answers) -> list[Row]:
    async def ready(asked: Asked, caller: Caller) -> Answer:
        name, version = _model(asked)
        reply = await answers.model_ready(pb.ModelReadyRequest(name=name, version=version), caller)
        shown = {"name": name, "ready": reply.ready}
        return Answer(to_json(shown), 200 if reply.ready else 503)

    async def config(asked: Asked, caller: Caller) -> Message:
        name, version = _model(asked)
        return (await answers.model_config(pb.ModelConfigRequest(name=name, version=version), caller)).config

    def statistics(asked: Asked, caller: Caller) -> Awaitable[Message]:
        name, version = _model(asked)
        return answers.model_statistics(pb.ModelStatisticsRequest(name=name, version=version), caller)

    def metadata(asked: Asked, caller: Caller) -> Awaitable[Message]:
        name, version = _model(asked)
        return answers.model_metadata(pb.ModelMetadataRequest(name=name, version=version), caller)

    async def infer(asked: Asked, caller: Caller) -> Answer:
        length = asked.headers.get(HEADER_LENGTH)
        request = await weighed(len(asked.body), request_of, *_model(asked), asked.body, length)
        reply = await core.infer(request, caller)
        body, json_length = await weighed(reply.size, body_of, reply, request)
        return Answer(body, json_length=json_length)

    async def generate(asked: Asked, caller: Caller) -> Answer:
        return Answer(await generated(core, _model(asked), await _json(asked), caller))

    async def stream(asked: Asked, caller: Caller) -> Events:
        return generated_stream(core, _model(asked), await _json(asked), caller)

    of_one: list[Row] = [
        (_GET, "/ready", ready),
        (_GET, "/config", _told(config)),
        (_GET, "/stats", _told(statistics)),
        (_POST, "/infer", infer),
        (_POST, "/generate", generate),
        (_POST, "/generate_stream", stream),
        (_GET, "", _told(metadata)),
    ]
    return [
        (_GET, "/v2/models/stats", _told(statistics)),
        *((verb, root + path, endpoint) for verb, path, endpoint in of_one for root in (_VERSION, _MODEL)),
    ]


def _model(asked: Asked) -> tuple[str, str]:
    """Name and version as the path has them; both empty where it has none."""
    return asked.path.get("model", ""), asked.path.get("version", "")


async def _json(asked: Asked) -> dict[str, Any]:
    return await weighed(len(asked.body), parse, asked.body)


def _told(answer: Callable[[Asked, Caller], Awaitable[Message]]) -> Endpoint:
    async def endpoint(asked: Asked, caller: Caller) -> Answer:
        return _plain(await answer(asked, caller))

    return endpoint


def _plain(message: Message, status: int = 200) -> Answer:
    return Answer(to_json(plain(message)), status)


async def _nothing(asked: Asked, _: Caller) -> NoReturn:
    raise ServiceError(Code.NOT_FOUND, Reason.METHOD_NOT_FOUND, "there is no such endpoint under /v2")


async def _not_offered(_: Asked, __: Caller) -> NoReturn:
    raise ServiceError(
        Code.UNIMPLEMENTED, Reason.UNSUPPORTED, "shared memory, traces and log settings are not offered"
    )
