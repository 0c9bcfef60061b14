"""Fine-tuned adapters by their own name: what they were made from is served with them."""

from __future__ import annotations

from gateway.call import BackendError
from gateway.models import GET_MODEL
from gateway.openai.caller import Caller
from gateway.routes.errors import status_of
from pequod.model.v1 import MODEL_KIND_ADAPTER, GetModelRequest
from services.common.errors import Code, ServiceError


async def base_of(reference: str, error: ServiceError | BackendError, caller: Caller) -> str:
    """The model that ``reference`` is an adapter of, after a service refused it by ``error``.

    Raises ``error`` again where it is about something else, or is right.
    """
    if status_of(error, caller.request_id).code not in {Code.NOT_FOUND, Code.INVALID_ARGUMENT}:
        raise error
    try:
        model = (await caller.one(GET_MODEL, GetModelRequest(model=reference))).model
    except (ServiceError, BackendError):
        raise error from None
    if model.kind != MODEL_KIND_ADAPTER or not model.parent:
        raise error
    return str(model.parent)
