"""Triton's generate extension: inputs and parameters as fields of one JSON object, outputs likewise."""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from gateway.caller import Caller
from gateway.kserve.checking import RESERVED
from gateway.kserve.core import Core
from gateway.kserve.described import Description, TensorSpec
from gateway.kserve.request import GivenTensor, InferReply, InferRequest, Value
from gateway.kserve.rest_wire import elements, flat, named, to_json
from gateway.kserve.tensors import Tensor
from gateway.kserve.weighing import weighed
from services.common.errors import invalid

_SCALAR = bool | int | float | str
_ID, _PARAMETERS = "id", "parameters"


async def generated(core: Core, which: tuple[str, str], body: Mapping[str, Any], caller: Caller) -> bytes:
    """The one answer, as JSON; ``which`` is a model's name and version."""
    request = await _request(core, which, body, caller)
    reply = await core.infer(request, caller)
    return await weighed(reply.size, lambda: to_json(_shown(reply)))


async def generated_stream(
    core: Core, which: tuple[str, str], body: Mapping[str, Any], caller: Caller
) -> AsyncGenerator[dict[str, Any], None]:
    """The answers as they come."""
    request = await _request(core, which, body, caller)
    async with aclosing(core.stream(request, caller)) as replies:
        async for reply in replies:
            yield _shown(reply)


async def _request(
    core: Core, which: tuple[str, str], body: Mapping[str, Any], caller: Caller
) -> InferRequest:
    _, kind = await core.models.find(*which, caller)
    identity = body.get(_ID, "")
    parameters = body.get(_PARAMETERS, {})
    if not isinstance(identity, str):
        raise invalid(_ID, f"is {identity!r}, a text is expected")
    if not isinstance(parameters, dict):
        raise invalid(_PARAMETERS, "must be an object")
    fields = {name: value for name, value in body.items() if name not in {_ID, _PARAMETERS}}
    for name in parameters.keys() & fields.keys():
        raise invalid(f"{_PARAMETERS}.{name}", "stands beside them too; give one of them")
    inputs, others = _sorted({**fields, **parameters}, kind.description)
    return InferRequest(*which, identity, others, inputs, {})


def _sorted(fields: Mapping[str, Any], described: Description) -> tuple[list[GivenTensor], dict[str, Value]]:
    """Fields that are inputs of the model, and those that are parameters of every request."""
    specs = {spec.name: spec for spec in described.inputs}
    inputs: list[GivenTensor] = []
    others: dict[str, Value] = {}
    for name, value in fields.items():
        if value is None:
            continue
        spec = specs.get(name)
        if isinstance(value, _SCALAR) and (name in RESERVED or (spec and spec.setting)):
            others[name] = value  # a tensor would round it
        elif spec:
            inputs.append(_tensor(spec, value))
        else:
            close = difflib.get_close_matches(name, [*specs, *RESERVED], n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(specs)}"
            raise invalid(name, f"there is no such input{hint}")
    return inputs, others


def _tensor(spec: TensorSpec, value: Any) -> GivenTensor:
    """An input of what JSON says: one element, or lists nested as the tensor is."""
    if not isinstance(value, list):
        return GivenTensor(spec.name, spec.datatype, (1,), [value])
    shape: list[int] = []
    inner: Any = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    return GivenTensor(spec.name, spec.datatype, tuple(shape), flat(value))


def _shown(reply: InferReply) -> dict[str, Any]:
    return {**named(reply), **{each.name: _value(each) for each in reply.outputs}}


def _value(tensor: Tensor) -> Any:
    """Elements in lists; one that is alone stands alone."""
    found = elements(tensor.values)
    return found[0] if tensor.shape == (1,) else found
