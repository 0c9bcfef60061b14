"""Requests of SamplerService, read and planned for an n-gram model, which is not run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache

from pequod.common.v1 import TokenIds
from pequod.sampler import v1
from services.sampler.families import ngram
from services.sampler.ngrams.engine import NgramEngine
from services.sampler.planning import plan, plan_look
from services.sampler.request import read_generate, read_inspect, read_score, read_table
from tests.fuzz.filling import message_of, sent
from tests.fuzz.known import root

REFUSALS = ()
WORDS = (
    *rb"""
        moby-ngram user assistant system {} [a-z]+
    """.split(),
    *(b"THE ",),
)
KINDS = (
    v1.GenerateRequest,
    v1.GenerateStreamRequest,
    v1.NextTokensRequest,
    v1.ScoreRequest,
    v1.InspectRequest,
)


def run(data: bytes) -> None:
    request = message_of(data, KINDS, WORDS)
    model = _engine()
    if isinstance(request, v1.InspectRequest):
        plan_look(read_inspect(request), model.name, model.traits, model.alphabet)
    elif request is not None:
        plan(_read(request), model.name, model.traits, model.alphabet)


def _read(request):
    if isinstance(request, v1.NextTokensRequest):
        return read_table(request)
    if isinstance(request, v1.ScoreRequest):
        return read_score(request)
    return read_generate(request, 4096)


@cache
def _engine() -> NgramEngine:
    folder = root() / "models/moby-ngram/1"
    config = json.loads((folder / "model.json").read_text())["config"]
    return NgramEngine("moby-ngram", ngram.load(config, folder, None))


def seeds() -> Iterable[bytes]:
    sampling = v1.Sampling(temperature=0.7, top_k=5, top_p=0.9, logit_bias={3: 1.5}, seed=7)
    stopping = v1.Stopping(max_tokens=20, stop=["A"], stop_ids=[3])
    order = v1.NgramOptions(order=3)
    for request in (
        v1.GenerateRequest(prompt="THE ", sampling=sampling, stopping=stopping, ngram=order, n=2, best_of=4),
        v1.GenerateStreamRequest(prompt_ids=TokenIds(ids=[1, 2, 3]), sampling=sampling, echo=True),
        v1.NextTokensRequest(prompt="THE Q", ngram=order, limit=10),
        v1.ScoreRequest(text="CALL ME", per_token=True, top_logprobs=3),
        v1.InspectRequest(prompt="THE ", attention=True, positions=[0], layers=[1]),
        v1.GenerateRequest(chat=v1.ChatMessages(messages=[v1.ChatMessage(role="user", content="a")])),
        v1.GenerateRequest(prompt="A", structured=v1.StructuredOutput(regex="[A-Z]+")),
    ):
        yield sent(request, KINDS)
