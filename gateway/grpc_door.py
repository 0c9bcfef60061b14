"""The gRPC door: every known method with its true arity, messages as raw bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

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
    except BackendError as error:
        await context.abort(error.code, error.message, call.trailing + error.trailing)
    except ServiceError as error:
        await _abort(context, error, call.request_id, call.trailing)
    except Exception:
        _logger.exception("unexpected error", extra={"method": call.method.path})
        await _abort(context, internal_error(call.request_id), call.request_id, call.trailing)
    context.set_trailing_metadata(call.trailing)


async def _abort(context: Context, error: ServiceError, request_id: str, trailing: Metadata) -> None:
    rich = status.to_status(error, request_id)
    await context.abort(status.grpc_code(rich.code), rich.message, trailing + status.trailing(rich))


def _refusal(path: str, known: Iterable[str]) -> Handler:
    error = unknown_method(path, known)

    async def refuse(request: Any, context: Context) -> None:
        await _abort(context, error, "", ())

    # This kind reads nothing before the handler runs, so it fits callers of every kind.
    return grpc.stream_stream_rpc_method_handler(refuse)
