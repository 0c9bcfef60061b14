"""Inferences as messages of ``inference.GRPCInferenceService``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from gateway.kserve.request import GivenTensor, InferReply, InferRequest, Value
from gateway.kserve.tensors import Content, Raw, encode
from gateway.middleware.sanity import too_large
from inference import InferParameter, ModelInferRequest, ModelInferResponse
from services.common.errors import ServiceError, invalid
from services.common.rpc.server import MAX_MESSAGE_BYTES

_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where elements of a datatype stand one by one; FP16 and BF16 travel raw only."""
_SHARED = "shared_memory_region"
_INT64 = 2**63


def request_of(message: ModelInferRequest) -> InferRequest:
    """What the message asks for. Raises INVALID_ARGUMENT where elements stand in the wrong place."""
    raw, count = list(message.raw_input_contents), len(message.inputs)
    # Elements in shared memory, which are refused later, have no entry.
    shared = sum(_SHARED in each.parameters for each in message.inputs)
    if raw and not count - shared <= len(raw) <= count:
        raise invalid("raw_input_contents", f"has {len(raw)} entries, one for each of {count} is expected")
    return InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters=parameters_of(message.parameters, "parameters"),
        inputs=[
            GivenTensor(
                name=each.name,
                datatype=each.datatype,
                shape=tuple(each.shape),
                content=_content(each, data),
                parameters=parameters_of(each.parameters, f"inputs.{each.name}.parameters"),
            )
            for each, data in zip_longest(message.inputs, raw)
        ],
        outputs={
            each.name: parameters_of(each.parameters, f"outputs.{each.name}.parameters")
            for each in message.outputs
        },
    )


def message_of(reply: InferReply) -> ModelInferResponse:
    """The reply with its elements raw. Raises RESOURCE_EXHAUSTED for one that no message holds."""
    message = ModelInferResponse(model_name=reply.model, model_version=reply.version, id=reply.id)
    for name, value in reply.parameters.items():
        set_parameter(message.parameters[name], value)
    for tensor in reply.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(encode(tensor.values))
    if (size := message.ByteSize()) > MAX_MESSAGE_BYTES:
        raise too_large(f"the outputs have {size} bytes")
    return message


def parameters_of(parameters: Mapping[str, InferParameter], field: str) -> dict[str, Value]:
    """Their values. Raises INVALID_ARGUMENT for one that has none."""
    found: dict[str, Value] = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f"{field}.{name}", "has no value")
        found[name] = getattr(parameter, choice)
    return found


def set_parameter(parameter: InferParameter, value: Value) -> None:
    """``value`` in the field of its type."""
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, str):
        parameter.string_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    elif value < _INT64:
        parameter.int64_param = value
    else:
        parameter.uint64_param = value


def _content(tensor: ModelInferRequest.InferInputTensor, raw: bytes | None) -> Content:
    place = f"inputs.{tensor.name}"
    given = [(field.name, values) for field, values in tensor.contents.ListFields()]
    if raw is not None:
        if given:
            raise invalid(place, "has contents beside raw_input_contents; one of them is expected")
        return Raw(raw)
    return _typed(place, tensor.datatype, given)


def _typed(place: str, datatype: str, given: list[tuple[str, Any]]) -> Content:
    wanted = _FIELDS.get(datatype)
    for name, values in given:
        if name != wanted:
            raise _misplaced(place, datatype, name, wanted)
        return list(values)
    return []


def _misplaced(place: str, datatype: str, found: str, wanted: str | None) -> ServiceError:
    expected = f"are expected in {wanted}" if wanted else "travel in raw_input_contents only"
    return invalid(place, f"has {found}, elements of {datatype or 'no datatype'} {expected}")
