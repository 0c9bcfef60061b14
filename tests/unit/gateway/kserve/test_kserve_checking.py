"""A request against what the model takes: names, datatypes, shapes, parameters, outputs."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.kserve.checking import read, reply_of, seconds_of
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.request import GivenTensor, InferRequest, Outcome
from gateway.kserve.tensors import Raw, Tensor, encode
from services.common.errors import Reason, ServiceError

DESCRIBED = Description(
    "pequod_test",
    (
        TensorSpec("text", "BYTES", (FREE,), most=3),
        TensorSpec("ids", "INT64", (FREE, 2), optional=True),
        TensorSpec("stop", "BYTES", (FREE,), optional=True, setting=True),
        *settings(temperature="FP32", steps="INT32", stream="BOOL"),
    ),
    (TensorSpec("one", "FP32", (FREE,)), TensorSpec("two", "FP32", (FREE,))),
)
TEXT = GivenTensor("text", "BYTES", (1,), [b"hello"])


def asked(*inputs, outputs=(), **parameters):
    return InferRequest("m", "", "7", parameters, inputs or (TEXT,), {name: {} for name in outputs})


def of_settings(**parameters):
    return read(asked(**parameters), DESCRIBED)


def test_inputs_are_read_by_name():
    values = np.array([[1, 2], [3, 4]], np.int64)
    ids = GivenTensor("ids", "INT64", (2, 2), Raw(encode(values)))
    stop = GivenTensor("stop", "BYTES", (2,), ["a", "ü"])
    inputs = read(asked(TEXT, ids, stop), DESCRIBED)
    assert inputs.text("text") == "hello"
    assert inputs.texts("stop") == ["a", "ü"]
    assert (inputs.array("ids") == values).all()
    assert "temperature" not in inputs
    assert inputs.number("temperature") is None
    assert inputs.whole("steps") is None
    assert inputs.flag("stream") is None


def test_settings_come_as_parameters_or_as_tensors():
    inputs = of_settings(temperature=0.7, steps=3, stream=True, stop="x")
    assert (inputs.number("temperature"), inputs.whole("steps"), inputs.flag("stream")) == (0.7, 3, True)
    assert inputs.texts("stop") == ["x"]
    tensors = (
        GivenTensor("temperature", "FP32", (1,), Raw(encode(np.array([0.7], np.float32)))),
        GivenTensor("steps", "INT32", (1,), [3]),
        GivenTensor("stream", "BOOL", (1,), [True]),
    )
    inputs = read(asked(TEXT, *tensors), DESCRIBED)
    # The nearest number of 32 bits is 0.699999988; 0.7 is what was meant.
    assert (inputs.number("temperature"), inputs.whole("steps"), inputs.flag("stream")) == (0.7, 3, True)


def test_a_whole_number_may_be_a_real_one():
    assert of_settings(temperature=1).number("temperature") == 1.0


def test_seeds_are_of_64_bits():
    described = Description("p", settings(seed="INT64"), ())
    request = InferRequest("m", "", "", {"seed": -1}, (), {})
    assert read(request, described).seed("seed") == 2**64 - 1


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            asked(GivenTensor("txt", "BYTES", (1,), ["a"])),
            "inputs.txt: there is no such input; did you mean text?",
        ),
        (
            asked(GivenTensor("zzz", "BYTES", (1,), ["a"])),
            "inputs.zzz: there is no such input; there are ids, ",
        ),
        (asked(TEXT, TEXT), "inputs.text: stands twice"),
        (asked(GivenTensor("stop", "BYTES", (1,), ["a"])), "inputs.text: is missing; BYTES[-1] is required"),
        (asked(GivenTensor("text", "FP32", (1,), [1.0])), "inputs.text: is FP32, BYTES[-1] is expected"),
        (
            asked(GivenTensor("text", "", (1,), [1.0])),
            "inputs.text: is of no datatype, BYTES[-1] is expected",
        ),
        (
            asked(GivenTensor("text", "BYTES", (1, 1), ["a"])),
            "inputs.text: has the shape [1, 1], BYTES[-1] is",
        ),
        (asked(GivenTensor("text", "BYTES", (), [])), "inputs.text: has the shape [], BYTES[-1] is expected"),
        (
            asked(GivenTensor("text", "BYTES", (0,), [])),
            "inputs.text: has the shape [0], BYTES[-1] is expected",
        ),
        (asked(GivenTensor("text", "BYTES", (-1,), ["a"])), "inputs.text: has the shape [-1], BYTES[-1] is"),
        (asked(GivenTensor("text", "BYTES", (4,), ["a"] * 4)), "inputs.text: has 4 rows, at most 3"),
        (asked(GivenTensor("text", "BYTES", (2,), ["a"])), "inputs.text: has 1 elements, BYTES[2] has 2"),
        (
            asked(TEXT, GivenTensor("ids", "INT64", (1, 3), [1, 2, 3])),
            "inputs.ids: has the shape [1, 3], INT64[-1, 2] is expected",
        ),
        (
            asked(TEXT, GivenTensor("ids", "INT64", (1, 2), Raw(b"\0" * 15))),
            "inputs.ids: has 15 bytes, INT64[1, 2] has 16 bytes",
        ),
        (
            asked(GivenTensor("text", "BYTES", (1,), ["a"], {"x": 1})),
            "inputs.text.parameters.x: there is no such parameter; there are binary_data_size",
        ),
        (asked(outputs=["on"]), "outputs.on: there is no such output; did you mean one?"),
        (asked(temperatur=1), "parameters.temperatur: there is no such parameter; did you mean temperature?"),
        (asked(temperature="hot"), "parameters.temperature: is 'hot', a number is expected"),
        (asked(temperature=True), "parameters.temperature: is True, a number is expected"),
        (asked(temperature=10**400), "parameters.temperature: is larger than any number"),
        (asked(steps=1.0), "parameters.steps: is 1.0, a whole number is expected"),
        (asked(steps=True), "parameters.steps: is True, a whole number is expected"),
        (asked(steps=2**31), "parameters.steps: 2147483648 is not in -2147483648..2147483647"),
        (asked(stream=1), "parameters.stream: is 1, a truth value is expected"),
        (asked(stop=1), "parameters.stop: is 1, a text is expected"),
        (asked(text="a"), "parameters.text: there is no such parameter"),
        (asked(priority="high"), "parameters.priority: is 'high', a whole number is expected"),
        (
            asked(TEXT, GivenTensor("steps", "INT32", (1,), [1]), steps=2),
            "parameters.steps: is an input of this request too; give one of them",
        ),
    ],
    ids=lambda each: each[:40] if isinstance(each, str) else "",
)
def test_what_does_not_fit_is_named(request_, said):
    with pytest.raises(ServiceError) as caught:
        read(request_, DESCRIBED)
    assert caught.value.message.startswith(said)
    assert caught.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (asked(sequence_id=7), "parameters.sequence_id: models here remember nothing between requests"),
        (
            asked(GivenTensor("text", "BYTES", (1,), [], {"shared_memory_region": "r"})),
            "inputs.text: tensors come in messages, shared memory is not offered",
        ),
        (
            InferRequest("m", "", "", {}, (TEXT,), {"one": {"shared_memory_region": "r"}}),
            "outputs.one: tensors come in messages, shared memory is not offered",
        ),
        (
            InferRequest("m", "", "", {}, (TEXT,), {"one": {"classification": 3}}),
            "outputs.one: no model here classifies",
        ),
    ],
)
def test_what_is_not_offered_is_said(request_, said):
    with pytest.raises(ServiceError) as caught:
        read(request_, DESCRIBED)
    assert caught.value.message == said
    assert caught.value.reason is Reason.UNSUPPORTED


def test_parameters_of_triton_itself_pass():
    known = {"priority": 1, "timeout": 5, "sequence_id": 0, "sequence_start": False, "sequence_end": False}
    inputs = of_settings(**known, triton_enable_empty_final_response=True, binary_data_output=True)
    assert inputs.text("text") == "hello"


def test_a_number_below_what_it_can_be_names_where_it_came_from():
    with pytest.raises(ServiceError, match=r"parameters\.steps: 0 is below 1"):
        of_settings(steps=0).whole("steps", least=1)
    inputs = read(asked(TEXT, GivenTensor("steps", "INT32", (1,), [-1])), DESCRIBED)
    with pytest.raises(ServiceError, match=r"inputs\.steps: -1 is below 0"):
        inputs.whole("steps")


def test_texts_are_utf_8():
    inputs = read(asked(GivenTensor("text", "BYTES", (2,), [b"a", b"\xff"])), DESCRIBED)
    with pytest.raises(ServiceError, match=r"inputs\.text: element 1 is not UTF-8: .* at byte 0"):
        inputs.texts("text")


def test_a_timeout_is_in_microseconds():
    assert seconds_of({}) is None
    assert seconds_of({"timeout": 0}) is None
    assert seconds_of({"timeout": 2_500_000}) == 2.5
    for bad in (-1, "1", True):
        with pytest.raises(ServiceError, match=r"parameters\.timeout"):
            seconds_of({"timeout": bad})


def test_outputs_come_as_they_were_asked_for():
    made = [Tensor(name, "FP32", np.zeros(1, np.float32)) for name in ("one", "two")]
    all_ = reply_of(asked(), Outcome(made), "3")
    assert [each.name for each in all_.outputs] == ["one", "two"]
    assert (all_.model, all_.version, all_.id, all_.is_last) == ("m", "3", "7", True)
    some = reply_of(asked(outputs=["two"]), Outcome(made), "3")
    assert [each.name for each in some.outputs] == ["two"]
