"""How KServe's clients name models, what is large, and what is too large for a message."""

from __future__ import annotations

import numpy as np
import pytest

import inference as pb
from gateway.kserve import models
from gateway.kserve.models import reference_of
from gateway.kserve.request import InferReply
from gateway.kserve.tensors import Tensor
from gateway.kserve.wire import message_of
from gateway.models import GET_MODEL
from pequod.model.v1 import GetModelResponse
from services.common.errors import Reason, ServiceError
from tests.unit.gateway.kserve.kserve_parts import EMBED, arrays, infer_request, model, texts


@pytest.mark.parametrize(
    ("name", "version", "reference"),
    [
        ("words", "", "words"),
        ("words", "4", "words:4"),
        ("words@production", "", "words@production"),
        ("hf:owner/name", "", "hf:owner/name"),
        ("hf:owner/name", "main", "hf:owner/name@main"),
    ],
)
def test_a_name_and_a_version_are_a_reference(name, version, reference):
    assert reference_of(name, version) == reference


@pytest.mark.parametrize("name", ["", "words:4", "words@production", "hf:owner/name@main"])
def test_a_version_is_said_once_and_a_name_always(name):
    with pytest.raises(ServiceError) as caught:
        reference_of(name, "4")
    assert caught.value.reason is Reason.INVALID_FIELD


async def test_what_is_known_of_a_model_is_soon_asked_anew(stub, services, monkeypatch):
    monkeypatch.setattr(models, "KEPT_SECONDS", 0.0)
    request = infer_request("words", texts("text", "a"))
    await stub.ModelInfer(request)
    asked = len(services.seen[GET_MODEL])
    await stub.ModelInfer(request)
    assert len(services.seen[GET_MODEL]) > asked


class Asking:
    """A caller of its own, who is told of every model."""

    request_id = ""

    def __init__(self, key):
        self.metadata = (("authorization", key),)
        self.questions = 0

    async def one(self, path, request):
        self.questions += 1
        return GetModelResponse(model=model(request.model, "WORD_VECTORS"))


async def test_what_is_kept_is_each_callers_own_and_bounded(monkeypatch):
    monkeypatch.setattr(models, "_MOST_KEPT", 2)
    known = models.Models()
    callers = [Asking(str(place)) for place in range(5)]
    for caller in callers:
        for _ in range(2):
            served, _ = await known.find("words", "", caller)
            assert served.model.name == "words"
    assert [caller.questions for caller in callers] == [1] * 5
    assert len(known._kept) <= 2


async def test_large_inputs_are_read_whole(stub, services):
    ids = np.arange(200_000, dtype=np.int64).reshape(2, -1)
    request = infer_request("sentences")
    request.inputs.add(name="ids", datatype="INT64", shape=ids.shape)
    request.raw_input_contents.append(ids.tobytes())
    assert arrays(await stub.ModelInfer(request))["embedding"].shape == (2, 2)
    assert [list(each.ids.ids[-2:]) for each in services.asked(EMBED).inputs] == [
        [99_998, 99_999],
        [199_998, 199_999],
    ]


def test_outputs_that_no_message_holds_are_refused():
    tensor = Tensor("image", "UINT8", np.zeros((33, 1 << 20), np.uint8))
    with pytest.raises(ServiceError) as caught:
        message_of(InferReply("m", "4", "", {}, [tensor], True))
    assert caught.value.reason is Reason.MESSAGE_TOO_LARGE
    assert "the limit is 33554432 bytes" in caught.value.message


def test_parameters_of_a_reply_have_their_types():
    parameters = {"flag": True, "whole": -1, "large": 2**64 - 1, "real": 0.5, "text": "a"}
    message = message_of(InferReply("m", "4", "7", parameters, [], True))
    found = {name: each.WhichOneof("parameter_choice") for name, each in message.parameters.items()}
    assert found == {
        "flag": "bool_param",
        "whole": "int64_param",
        "large": "uint64_param",
        "real": "double_param",
        "text": "string_param",
    }
    assert message == pb.ModelInferResponse.FromString(message.SerializeToString())
