"""KServe v2 over gRPC: ModelInferRequest, read against a description with every kind of input."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import inference as pb
from gateway.kserve import wire
from gateway.kserve.checking import read, seconds_of
from gateway.kserve.described import FREE, Description, TensorSpec
from gateway.kserve.described import settings as settable
from tests.fuzz.filling import message_of, sent

REFUSALS = ()
WORDS = tuple(
    rb"""
        text ids image stop temperature steps stream timeout out sequence_id BYTES INT64 UINT8 FP32 BOOL
        INT32 FP16 BF16 shared_memory_region
    """.split()
)
KINDS = (pb.ModelInferRequest,)
DESCRIBED = Description(
    "pequod_test",
    (
        TensorSpec("text", "BYTES", (FREE,), optional=True, most=2),
        TensorSpec("ids", "INT64", (FREE, FREE), optional=True),
        TensorSpec("image", "UINT8", (FREE, FREE, 3), optional=True),
        TensorSpec("half", "FP16", (FREE,), optional=True),
        TensorSpec("stop", "BYTES", (FREE,), optional=True, setting=True),
        *settable(temperature="FP32", steps="INT32", stream="BOOL"),
    ),
    (TensorSpec("out", "FP32", (FREE,)),),
)


def run(data: bytes) -> None:
    message = message_of(data, KINDS, WORDS)
    if message is not None:
        understood(wire.request_of(message))


def understood(request) -> None:
    """Read to its end, as the kinds of models do."""
    seconds_of(request.parameters)
    inputs = read(request, DESCRIBED)
    inputs.texts("text"), inputs.texts("stop")
    inputs.number("temperature"), inputs.whole("steps"), inputs.flag("stream")
    for name in ("ids", "image", "half"):
        if name in inputs:
            inputs.array(name)


def seeds() -> Iterable[bytes]:
    tensor = pb.ModelInferRequest.InferInputTensor
    text = tensor(name="text", datatype="BYTES", shape=[1])
    image = tensor(name="image", datatype="UINT8", shape=[1, 2, 3])
    ids = tensor(name="ids", datatype="INT64", shape=[1, 2])
    ids.contents.int64_contents.extend([1, 2])
    raw = struct.pack("<I", 1) + b"a"
    warm = pb.InferParameter(double_param=0.5)
    asked = pb.ModelInferRequest.InferRequestedOutputTensor(name="out")
    yield sent(pb.ModelInferRequest(model_name="m", inputs=[text], raw_input_contents=[raw]), KINDS)
    yield sent(
        pb.ModelInferRequest(inputs=[text, image], raw_input_contents=[raw, bytes(6)], outputs=[asked]), KINDS
    )
    yield sent(pb.ModelInferRequest(inputs=[ids], parameters={"temperature": warm}), KINDS)
