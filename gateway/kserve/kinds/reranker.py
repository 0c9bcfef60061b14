"""A reranker: a query and documents to a score each."""

from __future__ import annotations

from functools import partial

import numpy as np

from gateway.caller import Caller
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.request import Outcome
from gateway.kserve.tensors import Tensor
from gateway.openai.embeddings import RANK
from pequod.tokenizer.v1 import EmbedInput, RankRequest

QUERY, DOCUMENTS, SCORE = "query", "documents", "score"
MOST_DOCUMENTS = 10_000


def opened(served: Served) -> Kind:
    """Scores come in the order of the documents."""
    inputs = (
        TensorSpec(QUERY, "BYTES", (1,)),
        TensorSpec(DOCUMENTS, "BYTES", (FREE,), most=MOST_DOCUMENTS),
        *settings(raw_scores="BOOL"),
    )
    outputs = (TensorSpec(SCORE, "FP32", (FREE,)),)
    return Kind(Description(served.platform, inputs, outputs), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    documents = inputs.texts(DOCUMENTS)
    request = RankRequest(
        model=served.asked,
        query=EmbedInput(text=inputs.text(QUERY)),
        documents=[EmbedInput(text=each) for each in documents],
        raw_scores=inputs.flag("raw_scores") or False,
    )
    reply = await caller.one(RANK, request)
    scores = np.empty(len(documents), np.float32)
    for each in reply.documents:
        scores[each.index] = each.score
    return Outcome([Tensor(SCORE, "FP32", scores)], rows=len(documents), usage=reply.usage)
