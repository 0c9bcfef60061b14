"""Finds models by KServe's name and version, each time anew or, for inferences, from what was just found."""

from __future__ import annotations

import time

from gateway.caller import Caller
from gateway.kserve.kind import Kind, Served, has_tensors, opened
from gateway.models import LIST_MODELS
from gateway.openai.adapters import is_adapter, model_of
from pequod.model.v1 import ListModelsRequest, LoadModelRequest, Model, UnloadModelRequest
from services.common.catalogue import MODEL_SERVICE
from services.common.errors import invalid
from services.common.rpc.interceptors import REQUEST_ID_KEY
from services.common.tracing.context import KEYS

LOAD_MODEL, UNLOAD_MODEL = (f"/{MODEL_SERVICE}/{name}" for name in ("LoadModel", "UnloadModel"))
KEPT_SECONDS = 2.0
_MOST_KEPT = 1024
_NOT_IDENTITY = frozenset((REQUEST_ID_KEY, "user-agent", *KEYS))


class Models:
    """Asks for models, as their caller, through the pipeline."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Served, Kind, float]] = {}

    async def find(self, name: str, version: str, caller: Caller) -> tuple[Served, Kind]:
        """What an inference needs to know, up to KEPT_SECONDS old: the inference itself is checked anyway.

        What one caller was told is told to no other: those with other credentials ask anew.
        """
        reference = reference_of(name, version)
        key = (reference, *(pair for pair in caller.metadata if pair[0] not in _NOT_IDENTITY))
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept[2]:
            return kept[0], kept[1]
        served, kind = await self.describe(name, version, caller)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key] = (served, kind, time.monotonic() + KEPT_SECONDS)
        return served, kind

    async def get(self, name: str, version: str, caller: Caller) -> Served:
        """The same as it is now. Raises NOT_FOUND with the close names."""
        return await self._ask(reference_of(name, version), caller)

    async def describe(self, name: str, version: str, caller: Caller) -> tuple[Served, Kind]:
        """A model with its form as tensors."""
        served = await self.get(name, version, caller)
        return served, opened(served)

    async def every(self, caller: Caller) -> list[Model]:
        """All models that have a form as tensors."""
        return [model for model in await _listed(caller) if has_tensors(model)]

    async def versions(self, served: Served, caller: Caller) -> list[str]:
        """All versions of a model; only its own where it is none of a store's, as those of a hub."""
        listed = [model.version for model in await _listed(caller) if model.name == served.model.name]
        return listed or [served.model.version]

    async def load(self, name: str, caller: Caller) -> None:
        """Load, and wait until the model is ready."""
        await caller.one(LOAD_MODEL, LoadModelRequest(model=reference_of(name, "")))

    async def unload(self, name: str, caller: Caller) -> None:
        """Unload once the requests that use it have ended."""
        await caller.one(UNLOAD_MODEL, UnloadModelRequest(model=reference_of(name, "")))

    async def _ask(self, reference: str, caller: Caller) -> Served:
        model = await model_of(reference, caller)
        base = await model_of(model.parent, caller) if is_adapter(model) else None
        return Served(reference, model, base)


async def _listed(caller: Caller) -> list[Model]:
    found: list[Model] = await caller.every(LIST_MODELS, ListModelsRequest(), "models")
    return found


def reference_of(name: str, version: str) -> str:
    """A model reference. Raises INVALID_ARGUMENT for no name, and for a version said twice."""
    if not name:
        raise invalid("model_name", "is required")
    if not version:
        return name
    if name.startswith("hf:"):
        twice, mark = "@" in name, "@"
    else:
        twice, mark = "@" in name or ":" in name, ":"
    if twice:
        raise invalid("model_version", f"{version!r}: {name} says which one already")
    return f"{name}{mark}{version}"
