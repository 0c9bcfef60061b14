"""The gRPC door: every known method with its true arity, messages as raw bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeAlias, cast

import grpc
import grpc.aio

from gateway.call import BackendError, Call, Metadata
from gateway.methods import Method, unknown_method
from gateway.pipeline import Proceed
from services.common.errors import ServiceError
from services.common.rpc import status
from services.common.rpc.interceptors import internal_error
from services.common.rpc.usage import Context

# A string: the class is generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_logger = logging.getLogger("pequod.gateway")


class GrpcDoor(grpc.GenericRpcHandler):
    """Finds the handler of a method; without codecs, so that messages stay bytes."""

    def __init__(self, methods: Mapping[str, Method], pipeline: Proceed) -> None:
        self._handlers = {path: _handler(method, pipeline) for path, method in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The handler of the method asked for; one that refuses where there is no such method."""
        path = handler_call_details.method
        return self._handlers.get(path) or _refusal(path, self._handlers)


class GrpcReplies:
    """Sends a stream's replies to a gRPC caller; waiting for flow control is grpc's."""

    __slots__ = ("begin", "send")

    def __init__(self, context: Context) -> None:
        self.begin = context.send_initial_metadata
        self.send = context.write


def _handler(method: Method, pipeline: Proceed) -> Handler:
    async def unary(request: Any, context: Context) -> Any:
        call = _call(method, request, context)
        await _run(pipeline, call, context)
        return call.reply

    async def stream(request: Any, context: Context) -> None:
        await _run(pipeline, _call(method, request, context), context)

    if method.request_streaming and method.response_streaming:
        return grpc.stream_stream_rpc_method_handler(stream)
    if method.request_streaming:
        return grpc.stream_unary_rpc_method_handler(unary)
    if method.response_streaming:
        return grpc.unary_stream_rpc_method_handler(stream)
    return grpc.unary_unary_rpc_method_handler(unary)


def _call(method: Method, request: Any, context: Context) -> Call:
    # At run time a tuple of pairs; the stubs promise a wider type.
    metadata = cast(Metadata, context.invocation_metadata())
    return Call(method, metadata, request, context.time_remaining(), GrpcReplies(context))


async def _run(pipeline: Proceed, call: Call, context: Context) -> None:
    """Take the call through the pipeline; errors become statuses, which end the handler here."""
    try:
        await pipeline(call)
    except Exception as error:
        await fail(context, error, call.method.path, call.request_id, call.trailing)
    context.set_trailing_metadata(call.trailing)


async def fail(
    context: Context, error: Exception, path: str, request_id: str, trailing: Metadata = ()
) -> NoReturn:
    """End the handler with the status that stands for ``error``; one that is none of ours is logged."""
    if isinstance(error, BackendError):
        await context.abort(error.code, error.message, trailing + error.trailing)
    if not isinstance(error, ServiceError):
        _logger.error("unexpected error", extra={"method": path}, exc_info=error)
        error = internal_error(request_id)
    rich = status.to_status(error, request_id)
    await context.abort(status.grpc_code(rich.code), rich.message, trailing + status.trailing(rich))


def _refusal(path: str, known: Iterable[str]) -> Handler:
    error = unknown_method(path, known)

    async def refuse(request: Any, context: Context) -> None:
        await fail(context, error, path, "")

    # This kind reads nothing before the handler runs, so it fits callers of every kind.
    return grpc.stream_stream_rpc_method_handler(refuse)
