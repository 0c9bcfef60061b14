"""Every text, list and blob of every request has a limit: beyond it the field is named, nothing balloons.

The fields come from the descriptors, so one that is new is asked for its limit too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor as Field
from google.rpc import error_details_pb2, status_pb2

from gateway.methods import method_table
from pequod.finetune import v1 as finetune
from pequod.model import v1 as model
from pequod.tokenizer import v1 as tokenizer
from services.common.catalogue import SERVICES
from services.common.rpc.status import DETAILS_KEY
from tests.fuzz.filling import message_of
from tests.fuzz.targets import (
    diffusion_requests,
    finetune_requests,
    gan_requests,
    sampler_requests,
    tokenizer_requests,
)

METHODS = method_table(SERVICES)
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
}
TEXT, BLOB, MANY, GROUPS = 2 * 2**20 + 1, 20 * 2**20, 2_000_000, 150_000
"""Characters of a text, bytes of a blob, numbers and messages of a list: beyond any limit."""
ASKED_LATER = {"chunk", "page_token"}
"""Fields that are looked at once what comes before them is there: the start of an upload, a job."""
DEEPEST = 4
MOST_GROWTH = 700 * 2**20
"""Bytes that no process may peak above where it is: a message of 32 MiB is there in several forms."""


@cache
def bases() -> dict:
    """Sound requests by their type, to which one field is made too large."""
    known = {}
    for target in (sampler_requests, tokenizer_requests, diffusion_requests, gan_requests, finetune_requests):
        for seed in target.seeds():
            message = message_of(seed, target.KINDS)
            known.setdefault(type(message), message)
    reference = "moby-ngram"
    for kind in (
        model.GetModelRequest,
        model.LoadModelRequest,
        model.UnloadModelRequest,
        model.WatchModelRequest,
    ):
        known[kind] = kind(model=reference)
    known[model.ExportModelRequest] = model.ExportModelRequest(
        model=reference, format=model.EXPORT_FORMAT_ONNX
    )
    known[model.SetAliasRequest] = model.SetAliasRequest(name=reference, alias="other", version="1")
    known[tokenizer.EmbedStreamRequest] = tokenizer.EmbedStreamRequest(
        inputs=[tokenizer.EmbedInput(text="a")]
    )
    inputs = [tokenizer.EmbedInput(text="a")]
    known[tokenizer.SimilarityRequest] = tokenizer.SimilarityRequest(left=inputs)
    known[finetune.ListJobsRequest] = finetune.ListJobsRequest()
    job = finetune_requests.JOB
    known[finetune.PromoteCheckpointRequest] = finetune.PromoteCheckpointRequest(
        job_id=job, checkpoint_id="cp-1"
    )
    return known


def sizeable(descriptor, path=(), depth=DEEPEST) -> Iterator[tuple[Field, ...]]:
    """Paths to every text, blob, list and map of a message."""
    for field in descriptor.fields:
        here = (*path, field)
        if field.is_repeated or field.type in (Field.TYPE_STRING, Field.TYPE_BYTES):
            yield here
        kind = field.message_type
        if (
            kind is not None
            and depth
            and not kind.GetOptions().map_entry
            and not kind.full_name.startswith("google.")
        ):
            yield from sizeable(kind, here, depth - 1)


def shown(name, path):
    service, _, method = name.rpartition("/")
    return f"{service.rpartition('.')[2]}.{method}-{'.'.join(field.name for field in path)}"


CASES = [
    pytest.param(name, path, id=shown(name, path))
    for name, method in sorted(METHODS.items())
    for path in sizeable(method.request_type.DESCRIPTOR)
]


def oversized(name, path):
    """A sound request of a method with the field at ``path`` far too large."""
    kind = METHODS[name].request_type
    request = kind()
    request.CopyFrom(bases().get(kind, request))
    *way, last = path
    inner = request
    for field in way:
        inner = getattr(inner, field.name)
        if field.is_repeated:
            inner = inner[0] if len(inner) else inner.add()
    grow(inner, last)
    return request


def grow(message, field):
    if not field.is_repeated:
        setattr(message, field.name, "a" * TEXT if field.type == Field.TYPE_STRING else b"a" * BLOB)
        return
    target = getattr(message, field.name)
    kind = field.message_type
    if kind is None:
        every = {Field.TYPE_STRING: "a", Field.TYPE_BYTES: b"a", Field.TYPE_BOOL: True}.get(field.type, 1)
        target.extend([every] * (GROUPS if isinstance(every, str | bytes) else MANY))
    elif kind.GetOptions().map_entry:
        keys = range(GROUPS)
        is_text = kind.fields_by_name["key"].type == Field.TYPE_STRING
        value = "a" if kind.fields_by_name["value"].type == Field.TYPE_STRING else 1
        target.update({str(key) if is_text else key: value for key in keys})
    else:
        one = target[0] if len(target) else target.add()
        target.extend([one] * GROUPS)


def refusal(channel, name, request):
    """The code, and what is said of fields."""
    method = METHODS[name]
    kind = "_".join(
        "stream" if streams else "unary" for streams in (method.request_streaming, method.response_streaming)
    )
    sent = request.SerializeToString()
    try:
        reply = getattr(channel, kind)(name)(iter([sent]) if method.request_streaming else sent, timeout=60)
        list(reply) if method.response_streaming else reply
    except grpc.RpcError as error:
        said = [error.details() or ""]
        for key, value in error.trailing_metadata() or ():
            if key == DETAILS_KEY:
                said += violations(status_pb2.Status.FromString(value))
        return error.code(), " ".join(said)
    return grpc.StatusCode.OK, ""


def violations(status):
    bad = error_details_pb2.BadRequest()
    return [each.field for detail in status.details if detail.Unpack(bad) for each in bad.field_violations]


@pytest.fixture(scope="module")
def channel(platform):
    limit = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(platform.grpc, options=limit) as opened:
        yield opened


@pytest.mark.parametrize(("name", "path"), CASES)
def test_a_field_has_a_limit(channel, name, path):
    code, said = refusal(channel, name, oversized(name, path))
    assert code in REFUSED, said[:300]
    named = {field.name for field in path}
    if code is not grpc.StatusCode.RESOURCE_EXHAUSTED and path[-1].name not in ASKED_LATER:
        assert any(each in said for each in named), said[:300]
    assert len(said) < 5000


def test_nothing_ballooned(platform):
    """After all of them; the peak is what the kernel saw."""
    for service in ("gateway", *(each.module for each in SERVICES)):
        memory = platform.child(service)
        status = Path(f"/proc/{memory.pid}/status")
        if not status.exists():
            pytest.skip("this system keeps no peak of a process's memory in /proc")
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        peak, now = (int(lines[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
        assert peak - now < MOST_GROWTH, (service, peak >> 20, now >> 20)
