"""``/v1/models``: what there is, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.caller import Caller
from gateway.models import GET_MODEL, LIST_MODELS
from gateway.openai.answer import Answer
from pequod.model.v1 import GetModelRequest, ListModelsRequest, Model


async def list_models(_: Mapping[str, Any], caller: Caller) -> Answer:
    """Every model by its name, once; ``name:version`` and ``name@alias`` are understood too."""
    found = {each.name: each for each in await caller.every(LIST_MODELS, ListModelsRequest(), "models")}
    return {"object": "list", "data": [_shown(name, each) for name, each in found.items()]}


async def get_model(path: Mapping[str, Any], caller: Caller) -> Answer:
    """A model by any reference. Raises NOT_FOUND with the close names."""
    reference = path["model"]
    reply = await caller.one(GET_MODEL, GetModelRequest(model=reference))
    return _shown(reference, reply.model)


def _shown(name: str, model: Model) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": model.create_time.seconds,
        "owned_by": model.tenant or "local",
    }
