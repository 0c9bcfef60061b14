"""The one interceptor around every RPC: request id, error to status, metrics, one log line."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar, Token
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio

from services.common import log, tenants
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.common.rpc import status
from services.common.rpc.decode import checked, checked_stream, tolerant
from services.common.rpc.usage import Context
from services.common.tracing import rpc
from services.common.tracing.context import PARENT_KEY, context_in, trace_id_in
from services.common.tracing.spans import NOTHING, NoSpan

REQUEST_ID_KEY = "x-request-id"

_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_logger = logging.getLogger("pequod.rpc")

# A string: the class is generic for type checkers only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def request_id_from(metadata: Any) -> str:
    """The caller's request id when it is well formed, else a new one."""
    for key, value in metadata or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _VALID_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


def internal_error(request_id: str) -> ServiceError:
    """What a caller learns of a bug: that there is one, and the id to quote."""
    return ServiceError(Code.INTERNAL, Reason.INTERNAL, f"internal error, request id {request_id}")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Gives every call an id, maps its errors to rich statuses, counts and times it."""

    def __init__(self, metrics: Metrics) -> None:
        self.running = 0
        """Calls being served now; those that watch health or ask for reflection are not counted."""
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's behaviour, whatever its arity."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        behaviour, make = _behaviour(handler)
        # A stream comes from an async generator, or from a coroutine that writes to the context.
        wrap = self._streaming if inspect.isasyncgenfunction(behaviour) else self._single
        check = checked_stream if handler.request_streaming else checked
        wrapped = wrap(behaviour, check, method)
        deserializer = tolerant(handler.request_deserializer)
        return cast(Handler, make(wrapped, deserializer, handler.response_serializer))

    def _single(self, behaviour: Any, check: Any, method: str) -> Any:
        async def call(request: Any, context: Context) -> Any:
            async with self._call(method, context):
                return await behaviour(check(request), context)

        return call

    def _streaming(self, behaviour: Any, check: Any, method: str) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            async with (
                self._call(method, context),
                contextlib.aclosing(behaviour(check(request), context)) as replies,
            ):
                async for reply in replies:
                    yield reply

        return call

    @contextlib.asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        """What is logged, traced and looked up while the block runs is this call's."""
        metadata: Any = context.invocation_metadata() or ()
        call_id = request_id_from(metadata)
        named = (
            log.request_id.set(call_id),
            log.trace_id.set(trace_id_in(context_in(metadata).get(PARENT_KEY, ""))),
        )
        tenant = tenants.begin(_tenant(metadata))
        context.set_trailing_metadata(((REQUEST_ID_KEY, call_id),))
        try:
            # Those that watch health or ask for reflection have no trace either.
            with NOTHING if method.startswith("/grpc.") else rpc.served(method, metadata) as span:
                async with self._judged(method, context, call_id, span):
                    yield
        finally:
            _reset(log.request_id, named[0])
            _reset(log.trace_id, named[1])
            tenants.end(tenant)

    @contextlib.asynccontextmanager
    async def _judged(self, method: str, context: Context, call_id: str, span: NoSpan) -> AsyncIterator[None]:
        """However the block ends, the caller gets a status that fits, and it is counted."""
        started = time.perf_counter()
        counted = not method.startswith("/grpc.")
        self.running += counted
        code = "OK"
        try:
            yield
        except ServiceError as error:
            code = error.code.name
            if error.detail:
                _logger.warning("refused", extra={"method": method, "error": str(error)})
            await _abort(context, error, call_id)
        except (asyncio.CancelledError, GeneratorExit):
            # grpc cancels the handler both when the caller leaves and when its deadline passes.
            remaining = context.time_remaining()
            late = remaining is not None and remaining <= 0
            code = "DEADLINE_EXCEEDED" if late else "CANCELLED"
            raise
        except grpc.aio.AbortError:
            code = status.grpc_code(_code_number(context)).name
            raise
        except Exception:
            code = "INTERNAL"
            _logger.exception("unexpected error", extra={"method": method})
            await _abort(context, internal_error(call_id), call_id)
        finally:
            self.running -= counted
            rpc.answered(span, code)
            self._record(method, code, time.perf_counter() - started)

    def _record(self, method: str, code: str, seconds: float) -> None:
        service = self._metrics.service
        self._metrics.requests.labels(service, method, code).inc()
        self._metrics.request_seconds.labels(service, method).observe(seconds)
        level = logging.WARNING if code in {"INTERNAL", "UNKNOWN"} else logging.DEBUG
        _logger.log(level, "call", extra={"method": method, "code": code, "seconds": round(seconds, 6)})


async def _abort(context: Context, error: ServiceError, call_id: str) -> None:
    rich = status.to_status(error, call_id)
    metadata: tuple[tuple[str, str | bytes], ...] = (*status.trailing(rich), (REQUEST_ID_KEY, call_id))
    await context.abort(status.grpc_code(rich.code), rich.message, metadata)


def _behaviour(handler: Handler) -> tuple[Any, Any]:
    """The one behaviour the handler holds, and the grpc function that wraps such a behaviour again."""
    if handler.request_streaming and handler.response_streaming:
        return handler.stream_stream, grpc.stream_stream_rpc_method_handler
    if handler.request_streaming:
        return handler.stream_unary, grpc.stream_unary_rpc_method_handler
    if handler.response_streaming:
        return handler.unary_stream, grpc.unary_stream_rpc_method_handler
    return handler.unary_unary, grpc.unary_unary_rpc_method_handler


def _code_number(context: Context) -> int:
    code: Any = context.code()  # an int or an enum member, depending on who set it
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else int(code or Code.UNKNOWN)


def _tenant(metadata: Any) -> str:
    for key, value in metadata or ():
        if key == tenants.CALLER_KEY:
            return tenants.tenant_of(str(value))
    return tenants.LOCAL


def _reset(variable: ContextVar[str], token: Token[str]) -> None:
    # An abandoned stream is closed from another context, where the token means nothing.
    with contextlib.suppress(ValueError):
        variable.reset(token)
