"""The contract of ``kinds/``: what a model is as tensors, and what its service is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from gateway.caller import Caller
from gateway.kserve import kinds
from gateway.kserve.described import FREE, Description, TensorSpec
from gateway.kserve.inputs import Inputs
from gateway.kserve.request import Outcome
from gateway.openai.adapters import is_adapter
from pequod.model.v1 import Model, ModelKind
from services.common import families
from services.common.errors import ServiceError, unsupported


@dataclass(frozen=True, eq=False)
class Served:
    """A model with what it is asked by."""

    reference: str
    """As the caller gave it."""
    model: Model
    base: Model | None = None
    """What an adapter was made of."""

    @property
    def runs(self) -> Model:
        """The model whose kind and configuration count."""
        return self.base or self.model

    @property
    def asked(self) -> str:
        """The reference of the model to ask."""
        return self.model.parent if self.base else self.reference

    @property
    def adapter(self) -> str:
        """The reference of the adapter to apply; empty without one."""
        return self.reference if self.base else ""

    @property
    def platform(self) -> str:
        """Which code runs it."""
        return f"pequod_{self.runs.family}"

    @property
    def config(self) -> dict[str, Any]:
        """The family's own settings."""
        return dict(MessageToDict(self.runs.config))

    def size(self, *names: str, inside: str = "") -> int:
        """The first of the configuration's whole numbers under ``names``; FREE where it has none of them."""
        config: Any = self.config.get(inside, {}) if inside else self.config
        found = (config.get(name) for name in names) if isinstance(config, dict) else ()
        return next((int(each) for each in found if isinstance(each, int | float)), FREE)


Infer = Callable[[Inputs, Caller], Awaitable[Outcome]]
Stream = Callable[[Inputs, Caller], AsyncGenerator[Outcome, None]]


@dataclass(frozen=True)
class Kind:
    """A model as tensors. Both functions raise ServiceError or BackendError."""

    description: Description
    infer: Infer
    """One reply."""
    stream: Stream | None = None
    """Replies as they come, for models that have several."""


def has_tensors(model: Model) -> bool:
    """Whether there is a file for the model's kind, or it is an adapter of a model."""
    return _name(model.kind) in families.names(kinds) or is_adapter(model)


def opened(served: Served) -> Kind:
    """The model as tensors. Raises FAILED_PRECONDITION for a kind that is none."""
    name = _name(served.runs.kind)
    if name not in families.names(kinds):
        raise _no_tensors(served, name)
    kind: Kind = families.load(kinds, name).opened(served)
    return kind


def of_images(name: str, served: Served) -> TensorSpec:
    """Images as an output: [images, height, width, 3] of RGB."""
    side = served.size("size", inside=served.runs.family)
    return TensorSpec(name, "UINT8", (FREE, side, side, 3))


def _name(kind: int) -> str:
    described = ModelKind.DESCRIPTOR.values_by_number.get(kind)
    return described.name.removeprefix("MODEL_KIND_").lower() if described else ""


def _no_tensors(served: Served, kind: str) -> ServiceError:
    others = ", ".join(families.names(kinds))
    what = kind or "unknown"
    return unsupported(f"{served.reference}: kind {what} has no form as tensors; these have: {others}")
