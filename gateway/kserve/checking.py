"""Holds a request against the model's description: names, datatypes, shapes, parameters, outputs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gateway.kserve.described import FREE, Description, TensorSpec
from gateway.kserve.inputs import PLACE, Inputs
from gateway.kserve.request import GivenTensor, InferReply, InferRequest, Outcome, Value
from gateway.kserve.tensors import BOOL, BYTES, NUMPY, Array, decode
from services.common.errors import invalid, unsupported

TIMEOUT = "timeout"
"""Microseconds that the caller gives the request."""
BINARY_OUTPUT = "binary_data_output"
RESERVED: Mapping[str, type | tuple[type, ...]] = {
    TIMEOUT: int,
    BINARY_OUTPUT: bool,
    "triton_enable_empty_final_response": bool,
    "priority": int,
    "sequence_start": bool,
    "sequence_end": bool,
    "sequence_id": (int, str),
}
"""Triton's own parameters. The last reply of a stream says so itself, so none is empty."""
_OF_INPUTS = frozenset({"binary_data_size"})
_OF_OUTPUTS = frozenset({"binary_data", "classification"})
_SHARED_MEMORY = "shared_memory_"
_KIND_NAMES: Mapping[type, str] = {bool: "a truth value", int: "a whole number", str: "a text"}


def read(request: InferRequest, described: Description) -> Inputs:
    """The request's inputs. Raises INVALID_ARGUMENT naming the tensor or the parameter."""
    check_outputs(request, described)
    specs = {spec.name: spec for spec in described.inputs}
    tensors: dict[str, Array] = {}
    for given in request.inputs:
        place = PLACE.format(given.name)
        spec = specs.get(given.name)
        if spec is None:
            raise invalid(place, f"there is no such input{_instead(given.name, specs)}")
        if given.name in tensors:
            raise invalid(place, "stands twice")
        _check_parameters(place, given.parameters, _OF_INPUTS)
        _check_shape(place, given, spec)
        tensors[given.name] = decode(place, spec.datatype, given.shape, given.content)
    inputs = Inputs(tensors, _settings(request.parameters, specs, tensors))
    for spec in described.inputs:
        if not spec.optional and spec.name not in inputs:
            raise invalid(PLACE.format(spec.name), f"is missing; {spec} is required")
    return inputs


def check_outputs(request: InferRequest, described: Description) -> None:
    """Raise INVALID_ARGUMENT for an output that the model does not have."""
    known = [spec.name for spec in described.outputs]
    for name, parameters in request.outputs.items():
        place = f"outputs.{name}"
        if name not in known:
            raise invalid(place, f"there is no such output{_instead(name, known)}")
        _check_parameters(place, parameters, _OF_OUTPUTS)
        if parameters.get("classification"):
            raise unsupported(f"{place}: no model here classifies")


def seconds_of(parameters: Mapping[str, Value]) -> float | None:
    """The time in seconds that a request's parameters give it; None for no limit."""
    microseconds = parameters.get(TIMEOUT, 0)
    _check_type(TIMEOUT, microseconds, int)
    if microseconds < 0:  # type: ignore[operator]
        raise invalid(f"parameters.{TIMEOUT}", f"{microseconds} is below 0")
    return microseconds / 1e6 if microseconds else None  # type: ignore[operator]


def reply_of(request: InferRequest, outcome: Outcome, version: str) -> InferReply:
    """``outcome`` with the outputs that were asked for, in the order that they were asked for in."""
    made = {tensor.name: tensor for tensor in outcome.outputs}
    names: Iterable[str] = request.outputs or made
    outputs = [made[name] for name in names]
    return InferReply(request.model, version, request.id, outcome.parameters, outputs, outcome.is_last)


def _check_shape(place: str, given: GivenTensor, spec: TensorSpec) -> None:
    if given.datatype != spec.datatype:
        raise invalid(place, f"is {given.datatype or 'of no datatype'}, {spec} is expected")
    fits = len(given.shape) == len(spec.shape) and all(
        size > 0 and wanted in (FREE, size) for size, wanted in zip(given.shape, spec.shape, strict=True)
    )
    if not fits:
        raise invalid(place, f"has the shape {list(given.shape)}, {spec} is expected")
    if given.shape[0] > spec.most:
        raise invalid(place, f"has {given.shape[0]} rows, at most {spec.most}")


def _check_parameters(place: str, given: Mapping[str, Value], known: frozenset[str]) -> None:
    for name in given:
        if name.startswith(_SHARED_MEMORY):
            raise unsupported(f"{place}: tensors come in messages, shared memory is not offered")
        if name not in known:
            raise invalid(f"{place}.parameters.{name}", f"there is no such parameter{_instead(name, known)}")


def _settings(
    parameters: Mapping[str, Value], specs: Mapping[str, TensorSpec], tensors: Mapping[str, Array]
) -> dict[str, Any]:
    settable = {name: spec for name, spec in specs.items() if spec.setting}
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in RESERVED:
            _check_reserved(name, value)
        elif name not in settable:
            known = [*settable, *RESERVED]
            raise invalid(f"parameters.{name}", f"there is no such parameter{_instead(name, known)}")
        elif name in tensors:
            raise invalid(f"parameters.{name}", "is an input of this request too; give one of them")
        else:
            found[name] = _setting(settable[name], value)
    return found


def _check_reserved(name: str, value: Value) -> None:
    _check_type(name, value, RESERVED[name])
    if name == "sequence_id" and value not in (0, ""):
        raise unsupported("parameters.sequence_id: models here remember nothing between requests")


def _check_type(name: str, value: Value, kinds: type | tuple[type, ...]) -> None:
    among = kinds if isinstance(kinds, tuple) else (kinds,)
    if type(value) not in among:
        wanted = " or ".join(_KIND_NAMES[each] for each in among)
        raise invalid(f"parameters.{name}", f"is {value!r}, {wanted} is expected")


def _setting(spec: TensorSpec, value: Value) -> Value:
    if spec.datatype == BYTES:
        _check_type(spec.name, value, str)
    elif spec.datatype == BOOL:
        _check_type(spec.name, value, bool)
    elif spec.datatype.startswith("FP"):
        return _real(spec.name, value)
    else:
        _check_type(spec.name, value, int)
        limits = np.iinfo(NUMPY[spec.datatype])
        if not limits.min <= value <= limits.max:  # type: ignore[operator]
            raise invalid(f"parameters.{spec.name}", f"{value} is not in {limits.min}..{limits.max}")
    return value


def _real(name: str, value: Value) -> float:
    if isinstance(value, str | bool):
        raise invalid(f"parameters.{name}", f"is {value!r}, a number is expected")
    try:
        return float(value)
    except OverflowError:
        raise invalid(f"parameters.{name}", "is larger than any number that computers count with") from None


def _instead(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(names)}" if names else ""
