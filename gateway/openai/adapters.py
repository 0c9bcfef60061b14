"""Fine-tuned adapters by their own name: what they were made from is served with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from gateway.call import BackendError
from gateway.caller import Caller
from gateway.models import GET_MODEL
from gateway.routes.errors import status_of
from pequod.model.v1 import MODEL_KIND_ADAPTER, GetModelRequest, Model
from services.common.errors import Code, ServiceError

M = TypeVar("M", bound=Message)
Adapt = Callable[[M, str], M]
"""The request with the base of that name, and what was its model as its adapter."""


async def one(path: str, request: M, adapt: Adapt[M], caller: Caller) -> Any:
    """The reply of a unary method, whether the request's model is one or an adapter of one."""
    try:
        return await caller.one(path, request)
    except (ServiceError, BackendError) as error:
        other = await _adapted(request, adapt, error, caller)
    return await caller.one(path, other)


async def many(path: str, request: M, adapt: Adapt[M], caller: Caller) -> AsyncGenerator[Any, None]:
    """The same of a streaming method."""
    has_begun = False
    try:
        async with aclosing(caller.many(path, request)) as replies:
            async for reply in replies:
                has_begun = True
                yield reply
        return
    except (ServiceError, BackendError) as error:
        if has_begun:
            raise
        other = await _adapted(request, adapt, error, caller)
    async with aclosing(caller.many(path, other)) as replies:
        async for reply in replies:
            yield reply


async def model_of(reference: str, caller: Caller) -> Model:
    """What a reference names."""
    found: Model = (await caller.one(GET_MODEL, GetModelRequest(model=reference))).model
    return found


def is_adapter(model: Model) -> bool:
    """Whether it is one that says what of."""
    return model.kind == MODEL_KIND_ADAPTER and bool(model.parent)


async def _adapted(request: M, adapt: Adapt[M], error: ServiceError | BackendError, caller: Caller) -> M:
    """Raises ``error`` again where it is about something else, or is right."""
    if not _is_about_model(status_of(error, caller.request_id)):
        raise error
    asked: Any = request
    try:
        model = await model_of(asked.model, caller)
    except (ServiceError, BackendError):
        raise error from None
    if not is_adapter(model):
        raise error
    return adapt(request, model.parent)


def _is_about_model(status: status_pb2.Status) -> bool:
    """Whether nobody has the model, or somebody has it and it is no model to ask."""
    if status.code != Code.INVALID_ARGUMENT:
        return bool(status.code == Code.NOT_FOUND)
    bad = error_details_pb2.BadRequest()
    return any(
        detail.Unpack(bad) and any(each.field == "model" for each in bad.field_violations)
        for detail in status.details
    )
