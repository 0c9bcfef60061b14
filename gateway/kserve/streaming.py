"""ModelStreamInfer: many requests on one stream, each with its own replies, which may come in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from gateway.call import BackendError
from gateway.caller import Caller
from gateway.kserve.core import Core
from gateway.kserve.request import InferReply
from gateway.kserve.wire import message_of, request_of
from gateway.routes.errors import status_of
from inference import ModelInferRequest, ModelStreamInferResponse
from services.common.errors import ServiceError
from services.common.rpc.decode import checked
from services.common.rpc.interceptors import internal_error

FINAL = "triton_final_response"
"""The parameter of a reply that says whether it is its request's last."""
STRICT = "triton_grpc_error"
"""The caller's metadata that asks for a status at the first error, which then ends the stream."""
MOST_AT_ONCE = 16
"""Requests of one stream that are answered at the same time; others are read when there is room."""

_logger = logging.getLogger("pequod.gateway")


class Conversation:
    """One stream."""

    def __init__(
        self,
        core: Core,
        caller: Caller,
        write: Callable[[ModelStreamInferResponse], Awaitable[None]],
    ) -> None:
        """``write`` returns once the caller can take the next message."""
        self._core, self._caller, self._write = core, caller, write
        self._is_strict = (STRICT, "true") in caller.metadata
        self._writing = asyncio.Lock()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)

    async def hold(self, requests: AsyncIterable[Any]) -> None:
        """Answer until there are no more requests, and all are answered.

        An error becomes its request's reply, unless the caller wants it to end the stream.
        """
        try:
            async with asyncio.TaskGroup() as answering:
                async for request in requests:
                    await self._room.acquire()
                    answering.create_task(self._answer(checked(request)))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _answer(self, message: ModelInferRequest) -> None:
        try:
            async with aclosing(self._core.stream(request_of(message), self._caller)) as replies:
                async for reply in replies:
                    await self._send(_response(reply))
        except (ServiceError, BackendError) as error:
            if self._is_strict:
                raise
            await self._send(_failure(message, status_of(error, "").message))
        except Exception:
            if self._is_strict:
                raise
            _logger.exception("unexpected error", extra={"model": message.model_name})
            await self._send(_failure(message, internal_error(self._caller.request_id).message))
        finally:
            self._room.release()

    async def _send(self, response: ModelStreamInferResponse) -> None:
        async with self._writing:
            await self._write(response)


def _response(reply: InferReply) -> ModelStreamInferResponse:
    response = ModelStreamInferResponse(infer_response=message_of(reply))
    response.infer_response.parameters[FINAL].bool_param = reply.is_last
    return response


def _failure(message: ModelInferRequest, what: str) -> ModelStreamInferResponse:
    """The last reply of a request, by whose id its caller knows it."""
    response = ModelStreamInferResponse(error_message=what)
    told = response.infer_response
    told.model_name, told.model_version, told.id = message.model_name, message.model_version, message.id
    told.parameters[FINAL].bool_param = True
    return response
