"""What the kinds of models that embed have in common."""

from __future__ import annotations

import numpy as np

from gateway.caller import Caller
from gateway.kserve.described import FREE, TensorSpec
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Served
from gateway.kserve.request import Outcome
from gateway.kserve.tensors import Tensor
from gateway.openai.embeddings import EMBED
from pequod.tokenizer import v1

TEXT, IDS, IMAGE, EMBEDDING = "text", "ids", "image", "embedding"
MOST_INPUTS = 10_000
"""As Embed has it."""


def vectors(width: int) -> TensorSpec:
    """The output: a vector a row, of ``width`` numbers unless ``dimensions`` asks for fewer."""
    return TensorSpec(EMBEDDING, "FP32", (FREE, width))


def texts_of(inputs: Inputs) -> list[v1.EmbedInput]:
    """The texts to embed."""
    return [v1.EmbedInput(text=each) for each in inputs.texts(TEXT)]


async def embed(served: Served, inputs: Inputs, given: list[v1.EmbedInput], caller: Caller) -> Outcome:
    """The vectors [inputs, dimensions] of ``given``, as the settings among ``inputs`` say."""
    request = v1.EmbedRequest(model=served.asked, inputs=given)
    options = request.options
    options.format = v1.VECTOR_FORMAT_FLOAT32_BYTES
    options.dimensions = inputs.whole("dimensions") or 0
    options.prompt_name = inputs.text("prompt_name")
    options.truncation = v1.TRUNCATION_END if inputs.flag("truncate") else v1.TRUNCATION_REFUSE
    if (normalize := inputs.flag("normalize")) is not None:
        options.normalize = normalize
    reply = await caller.one(EMBED, request)
    data = b"".join(each.data for each in sorted(reply.embeddings, key=lambda each: each.index))
    values = np.frombuffer(data, "<f4").reshape(len(given), reply.dimensions)
    return Outcome([Tensor(EMBEDDING, "FP32", values)], rows=len(given), usage=reply.usage)
