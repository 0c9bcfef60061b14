"""Inferences as bodies of REST: JSON, and after it the elements of tensors as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from pydantic import Field

from gateway.kserve.checking import BINARY_OUTPUT
from gateway.kserve.request import GivenTensor, InferReply, InferRequest, Value
from gateway.kserve.tensors import Array, Raw, encode
from gateway.openai.body import Fields, read
from gateway.routes.body import parse
from services.common.errors import invalid

HEADER_LENGTH = "inference-header-content-length"
"""Bytes of JSON at the beginning of a body that has more."""
BINARY_SIZE, BINARY = "binary_data_size", "binary_data"


class InputBody(Fields):
    """An input. ``data`` is nested as ``shape`` says, or flat."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Value] = Field(default_factory=dict)
    data: list[Any] | None = None


class OutputBody(Fields):
    """An output to return."""

    name: str
    parameters: dict[str, Value] = Field(default_factory=dict)


class InferBody(Fields):
    """A request. KServe's clients repeat the model's name, which the path says."""

    id: str = ""
    model_name: str = ""
    model_version: str = ""
    parameters: dict[str, Value] = Field(default_factory=dict)
    inputs: list[InputBody] = Field(min_length=1)
    outputs: list[OutputBody] = Field(default_factory=list)


def request_of(model: str, version: str, body: bytes, length: str | None) -> InferRequest:
    """What a body asks for; ``length`` is the header's. Raises INVALID_ARGUMENT naming the field."""
    size = len(body) if length is None else _length_of(length, len(body))
    given = read(InferBody, parse(body[:size]))
    for field, said, path in (
        ("model_name", given.model_name, model),
        ("model_version", given.model_version, version),
    ):
        if said and said != path:
            raise invalid(field, f"is {said!r}, the path says {path!r}")
    return InferRequest(
        model=model,
        version=version,
        id=given.id,
        parameters=given.parameters,
        inputs=_inputs(given.inputs, body[size:]),
        outputs={each.name: each.parameters for each in given.outputs},
    )


def body_of(reply: InferReply, request: InferRequest) -> tuple[bytes, int | None]:
    """The reply, and how much of it is JSON where elements follow as bytes."""
    usually = request.parameters.get(BINARY_OUTPUT, False)
    parts: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for tensor in reply.outputs:
        shown: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if request.outputs.get(tensor.name, {}).get(BINARY, usually):
            parts.append(encode(tensor.values))
            shown["parameters"] = {BINARY_SIZE: len(parts[-1])}
        else:
            shown["data"] = elements(tensor.values.reshape(-1))
        outputs.append(shown)
    text = to_json({**named(reply), "parameters": reply.parameters, "outputs": outputs})
    return b"".join((text, *parts)), len(text) if parts else None


def named(reply: InferReply) -> dict[str, Any]:
    """Whose reply it is."""
    identity = {"id": reply.id} if reply.id else {}
    return {"model_name": reply.model, "model_version": reply.version, **identity}


def elements(values: Array) -> list[Any]:
    """Elements as JSON has them, nested as the tensor is; BYTES are texts."""
    if values.dtype == object:
        return [each.decode(errors="replace") for each in values.flat]
    found: list[Any] = values.tolist()
    return found


def to_json(value: Any) -> bytes:
    """``value`` on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def flat(data: Sequence[Any]) -> list[Any]:
    """Nested lists as one; what is ragged has another number of elements than its shape says."""
    values = list(data)
    while values and all(isinstance(each, list) for each in values):
        values = list(chain.from_iterable(values))
    return values


def _length_of(header: str, whole: int) -> int:
    if not (header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= whole):
        raise invalid(HEADER_LENGTH, f"{header[:20]!r} is no number of bytes in 0..{whole}, the body's size")
    return int(header)


def _inputs(given: Sequence[InputBody], data: bytes) -> list[GivenTensor]:
    """Inputs with their elements, from JSON or from the bytes after it, in their order."""
    inputs: list[GivenTensor] = []
    at = 0
    for each in given:
        place = f"inputs.{each.name}"
        size = _binary_size(place, each.parameters)
        if (size is None) == (each.data is None):
            raise invalid(place, f"either data or the parameter {BINARY_SIZE} is required")
        if size is not None and at + size > len(data):
            raise invalid(place, f"says {size} bytes, {len(data) - at} are left after the JSON")
        content = flat(each.data or ()) if size is None else Raw(data[at : at + size])
        at += size or 0
        inputs.append(GivenTensor(each.name, each.datatype, tuple(each.shape), content, each.parameters))
    if at != len(data):
        raise invalid("body", f"has {len(data) - at} bytes after the elements of its inputs")
    return inputs


def _binary_size(place: str, parameters: Mapping[str, Value]) -> int | None:
    size = parameters.get(BINARY_SIZE)
    if size is not None and (type(size) is not int or size < 0):
        raise invalid(f"{place}.parameters.{BINARY_SIZE}", f"is {size!r}, a number of bytes is expected")
    return size
