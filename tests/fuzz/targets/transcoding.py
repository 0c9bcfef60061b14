"""Protobuf JSON of every method: the body, and the message made of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from google.protobuf import json_format

from gateway.methods import Method, method_table
from gateway.routes.body import parse
from gateway.routes.transcode import to_json, to_message
from services.common.catalogue import SERVICES

REFUSALS = ()
WORDS = (
    *rb"""
        "model" "prompt" "sampling" "temperature" "NaN" 1e400 null [[[[ "spec" "parameters" "seed"
        "inputs" "AAAA" -1 true
    """.split(),
    *(
        b"\\ud800",
        b'{"text": "a"}',
    ),
)


def run(data: bytes) -> None:
    method = _methods()[(data or b"\0")[0] % len(_methods())]
    message = to_message(parse(data[1:]), method.request_type)
    to_json(message, method.request_type)


@cache
def _methods() -> list[Method]:
    return [method for _, method in sorted(method_table(SERVICES).items())]


def seeds() -> Iterable[bytes]:
    for place, method in enumerate(_methods()):
        shown = json_format.MessageToDict(
            method.request_type(), always_print_fields_with_no_presence=True, preserving_proto_field_name=True
        )
        yield bytes((place,)) + json.dumps(shown).encode()
    named = [method.path.rpartition("/")[2] for method in _methods()]
    yield (
        bytes((named.index("CreateJob"),))
        + b'{"spec": {"recipe": "ngram", "parameters": {"a": [1, {"b": null}]}}}'
    )
    yield bytes((named.index("Embed"),)) + b'{"inputs": [{"text": "a"}, {"ids": {"ids": [1, 2]}}]}'
