"""Whatever a client sends is understood or refused by name: made-up requests of both doors."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import inference as pb
from gateway.kserve import rest_wire, wire
from gateway.kserve.checking import read, seconds_of
from gateway.kserve.described import FREE, Description, TensorSpec
from gateway.kserve.described import settings as settable
from gateway.kserve.tensors import NUMPY
from services.common.errors import Code, ServiceError

NAMES = st.sampled_from(["text", "ids", "temperature", "steps", "stream", "stop", "image", "timeout", "x"])
DATATYPES = st.sampled_from([*NUMPY, "BF16", ""])
SHAPES = st.lists(st.integers(-2, 3), max_size=3)
VALUES = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=3))
DESCRIBED = Description(
    "pequod_test",
    (
        TensorSpec("text", "BYTES", (FREE,), optional=True, most=2),
        TensorSpec("ids", "INT64", (FREE, FREE), optional=True),
        TensorSpec("image", "UINT8", (FREE, FREE, 3), optional=True),
        TensorSpec("stop", "BYTES", (FREE,), optional=True, setting=True),
        *settable(temperature="FP32", steps="INT32", stream="BOOL"),
    ),
    (TensorSpec("out", "FP32", (FREE,)),),
)


def understood(request):
    """Reads a request to its end. Anything but a refusal that is the caller's mistake is a failure."""
    try:
        asked = request()
        seconds_of(asked.parameters)
        inputs = read(asked, DESCRIBED)
        inputs.texts("text"), inputs.texts("stop")
        inputs.number("temperature"), inputs.whole("steps"), inputs.flag("stream")
    except ServiceError as error:
        if error.code not in {Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION}:
            raise
        return False
    for name in ("text", "ids", "image"):
        if name in inputs:
            assert isinstance(inputs.array(name), np.ndarray)
    return True


@st.composite
def parameters(draw, target):
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=2)).items():
        setattr(target[name], fields[type(value)], value)


@st.composite
def messages(draw):
    message = pb.ModelInferRequest(model_name="m")
    draw(parameters(message.parameters))
    for _ in range(draw(st.integers(0, 3))):
        tensor = message.inputs.add(name=draw(NAMES), datatype=draw(DATATYPES), shape=draw(SHAPES))
        if draw(st.booleans()):
            tensor.contents.int64_contents.extend(draw(st.lists(st.integers(-3, 3), max_size=4)))
        if draw(st.booleans()):
            tensor.contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=3), max_size=3)))
        if draw(st.booleans()):
            draw(parameters(tensor.parameters))
        if draw(st.integers(0, 5)) == 0:
            tensor.parameters["shared_memory_region"].string_param = "r"
    message.raw_input_contents.extend(draw(st.lists(st.binary(max_size=24), max_size=4)))
    return message


@settings(max_examples=300)
@given(messages())
def test_a_message_is_understood_or_refused(message):
    understood(lambda: wire.request_of(message))


ELEMENTS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
BODIES = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {"name": NAMES, "datatype": DATATYPES, "shape": SHAPES},
                optional={
                    "data": st.lists(ELEMENTS, max_size=4),
                    "parameters": st.dictionaries(
                        st.sampled_from(["binary_data_size", "x"]), st.integers(-1, 12), max_size=1
                    ),
                },
            ),
            max_size=3,
        )
    },
    optional={
        "parameters": st.dictionaries(NAMES, ELEMENTS, max_size=2),
        "id": ELEMENTS,
        "outputs": ELEMENTS,
    },
)


@settings(max_examples=300)
@given(BODIES, st.binary(max_size=24), st.one_of(st.none(), st.integers(-1, 3)))
def test_a_body_is_understood_or_refused(body, data, off):
    text = json.dumps(body).encode()
    length = None if off is None else str(len(text) + off)
    understood(lambda: rest_wire.request_of("m", "", text + data, length))


@settings(max_examples=200)
@given(st.binary(max_size=60), st.one_of(st.none(), st.text(max_size=4)))
def test_any_bytes_are_a_body_or_refused(body, length):
    understood(lambda: rest_wire.request_of("m", "", body, length))


def test_what_is_made_up_is_understood_at_times():
    """That the tests above do not only refuse."""
    text = pb.ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1])
    message = pb.ModelInferRequest(model_name="m", inputs=[text], raw_input_contents=[b"\x01\0\0\0a"])
    assert understood(lambda: wire.request_of(message))
    body = {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 2], "data": [[1, 2]]}]}
    assert understood(lambda: rest_wire.request_of("m", "", json.dumps(body).encode(), None))
