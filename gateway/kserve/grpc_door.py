"""The gRPC door: ``inference.GRPCInferenceService`` on the gateway's port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

import inference
from gateway.call import BackendError, Metadata
from gateway.caller import Caller
from gateway.grpc_door import Handler, fail
from gateway.kserve.answers import Answers
from gateway.kserve.core import Core
from gateway.kserve.streaming import Conversation
from gateway.kserve.wire import message_of, request_of
from gateway.methods import KSERVE_SERVICE, Method
from gateway.pipeline import Proceed
from inference import ModelInferRequest, ModelInferResponse
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.decode import checked, tolerant
from services.common.rpc.interceptors import REQUEST_ID_KEY, request_id_from
from services.common.rpc.usage import Context
from services.common.tracing import rpc

_PREFIX = f"/{KSERVE_SERVICE}/"
_NOT_OFFERED = "shared memory, traces and log settings are not offered over this service"

Answer: TypeAlias = "Callable[[Any, Caller], Awaitable[Any]]"


class KserveDoor(grpc.GenericRpcHandler):
    """Answers every method of the service; those that it does not offer with UNIMPLEMENTED."""

    def __init__(
        self, core: Core, answers: Answers, methods: Mapping[str, Method], pipeline: Proceed
    ) -> None:
        self._core, self._methods, self._pipeline = core, methods, pipeline
        named: dict[str, Answer] = {
            "ServerLive": answers.server_live,
            "ServerReady": answers.server_ready,
            "ServerMetadata": answers.server_metadata,
            "ModelReady": answers.model_ready,
            "ModelMetadata": answers.model_metadata,
            "ModelConfig": answers.model_config,
            "ModelStatistics": answers.model_statistics,
            "RepositoryIndex": answers.repository_index,
            "RepositoryModelLoad": answers.repository_model_load,
            "RepositoryModelUnload": answers.repository_model_unload,
            "ModelInfer": self._infer,
        }
        self._handlers = {_PREFIX + name: self._unary(_PREFIX + name, each) for name, each in named.items()}
        self._handlers[f"{_PREFIX}ModelStreamInfer"] = self._stream(f"{_PREFIX}ModelStreamInfer")

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """The handler of a method of the service; None for other services'."""
        path = handler_call_details.method
        if not path.startswith(_PREFIX):
            return None
        return self._handlers.get(path) or _refusal(path)

    def _unary(self, path: str, answer: Answer) -> Handler:
        async def handle(request: Any, context: Context) -> Any:
            caller = self._caller(context)
            identity = ((REQUEST_ID_KEY, caller.request_id),)
            try:
                with _traced(path, caller):
                    reply = await answer(checked(request), caller)
            except Exception as error:
                await fail(context, error, path, caller.request_id, identity)
            context.set_trailing_metadata(identity)
            return reply

        request_type = getattr(inference, f"{path.removeprefix(_PREFIX)}Request")
        return grpc.unary_unary_rpc_method_handler(handle, tolerant(request_type.FromString), _serialized)

    def _stream(self, path: str) -> Handler:
        async def handle(requests: AsyncIterable[Any], context: Context) -> None:
            caller = self._caller(context)
            identity = ((REQUEST_ID_KEY, caller.request_id),)
            try:
                with _traced(path, caller):
                    await Conversation(self._core, caller, context.write).hold(requests)
            except Exception as error:
                await fail(context, error, path, caller.request_id, identity)
            context.set_trailing_metadata(identity)

        decode = tolerant(ModelInferRequest.FromString)
        return grpc.stream_stream_rpc_method_handler(handle, decode, _serialized)

    async def _infer(self, message: ModelInferRequest, caller: Caller) -> ModelInferResponse:
        return message_of(await self._core.infer(request_of(message), caller))

    def _caller(self, context: Context) -> Caller:
        # At run time a tuple of pairs; the stubs promise a wider type.
        given = cast(Metadata, context.invocation_metadata())
        request_id = request_id_from(given)
        others = (pair for pair in given if pair[0] != REQUEST_ID_KEY)
        metadata = ((REQUEST_ID_KEY, request_id), *others)
        return Caller(self._methods, self._pipeline, metadata, request_id, context.time_remaining())


@contextlib.contextmanager
def _traced(path: str, caller: Caller) -> Iterator[None]:
    """The span of a call of this service; those of other services that it leads to are below it."""
    with rpc.served(path, caller.metadata) as span:
        try:
            yield
        except (ServiceError, BackendError) as error:
            rpc.answered(span, error.code.name)
            raise
        rpc.answered(span, "OK")


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _refusal(path: str) -> Handler:
    name = path.removeprefix(_PREFIX)[:200]
    error = ServiceError(
        Code.UNIMPLEMENTED, Reason.METHOD_NOT_FOUND, f"no method {KSERVE_SERVICE}/{name}: {_NOT_OFFERED}"
    )

    async def refuse(request: Any, context: Context) -> None:
        await fail(context, error, path, "")

    # This kind reads nothing before the handler runs, so it fits callers of every kind.
    return grpc.stream_stream_rpc_method_handler(refuse)
