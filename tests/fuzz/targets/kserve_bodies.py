"""KServe v2 over REST: JSON, with the elements of tensors after it; the first line is the header's length."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.kserve import rest_wire
from gateway.kserve.generate import _sorted
from gateway.kserve.request import InferRequest
from gateway.routes.body import parse
from tests.fuzz.targets.kserve_messages import DESCRIBED, understood

REFUSALS = ()
WORDS = tuple(
    rb"""
        "inputs" "name" "text" "ids" "datatype" "BYTES" "INT64" "shape" "data" [1] "parameters"
        "binary_data_size" "temperature" "outputs" 1e400 "FP16" [[1,2],[3]]
    """.split()
)


def run(data: bytes) -> None:
    length, _, body = data.partition(b"\n")
    if length == b"generate":
        inputs, others = _sorted(parse(body), DESCRIBED)
        understood(InferRequest("m", "", "", others, inputs, {}))
    else:
        understood(rest_wire.request_of("m", "", body, length.decode("latin-1") or None))


def seeds() -> Iterable[bytes]:
    text = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}], "id": "x"}'
    ids = (
        b'{"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 2], "data": [[1, 2]]}], '
        b'"parameters": {"temperature": 0.5, "timeout": 5}, "outputs": [{"name": "out"}]}'
    )
    raw = (
        b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], '
        b'"parameters": {"binary_data_size": 3}}]}'
    )
    yield b"\n" + text
    yield b"\n" + ids
    yield b"%d\n" % len(raw) + raw + b"abc"
    yield b'generate\n{"text": ["a", "b"], "temperature": 0.5, "stream": true}'
    yield b'generate\n{"ids": [[1, 2]], "parameters": {"steps": 3}}'
