"""A gateway that refuses as told, for tests of the client."""

from __future__ import annotations

import struct
import threading
from collections import deque
from types import SimpleNamespace

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from pequod.common.v1 import Usage
from pequod.finetune.v1 import (
    Dataset,
    DatasetServiceServicer,
    UploadDatasetResponse,
)
from pequod.sampler.v1 import (
    Completion,
    GenerateResponse,
    GenerateStreamResponse,
    SamplerServiceServicer,
)
from pequod.tokenizer.v1 import (
    CountTokensResponse,
    Embedding,
    EmbeddingServiceServicer,
    EmbedResponse,
    EmbedStreamResponse,
    RankedDocument,
    RankResponse,
    Tokenization,
    TokenizeResponse,
    TokenizerServiceServicer,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def refusal(code=UNAVAILABLE, *, retry_after=None, reason="OVERLOADED", details=()):
    """A rich status as Pequod's services send it."""
    messages = [
        error_details_pb2.ErrorInfo(reason=reason, domain="pequod", metadata={"queue": "9"}),
        *details,
    ]
    if retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_after * 1e9))
        messages.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = [Any() for _ in messages]
    for wrapper, message in zip(packed, messages, strict=True):
        wrapper.Pack(message)
    return status_pb2.Status(code=code.value[0], message="refused", details=packed)


def embeddings(inputs, first=0):
    """Vectors that tell the length of each text."""
    return [
        Embedding(index=index, data=struct.pack("<2f", len(each.text), 0.5))
        for index, each in enumerate(inputs, start=first)
    ]


class Server(
    SamplerServiceServicer, DatasetServiceServicer, EmbeddingServiceServicer, TokenizerServiceServicer
):
    """Refuses as often as ``refusals`` says, then answers with the prompt and two more letters."""

    def __init__(self):
        self.refusals = deque()
        self.refuse_after_first = None
        self.seen = []
        self.parts = []
        self.left = threading.Event()
        self.release = threading.Event()

    def Embed(self, request, context):
        self._begin(request, context)
        return EmbedResponse(embeddings=embeddings(request.inputs), dimensions=2)

    def Rank(self, request, context):
        self._begin(request, context)
        order = sorted(enumerate(request.documents), key=lambda pair: -len(pair[1].text))
        return RankResponse(documents=[RankedDocument(index=i, score=len(d.text)) for i, d in order])

    def Tokenize(self, request, context):
        self._begin(request, context)
        return TokenizeResponse(tokenizations=[Tokenization(ids=map(ord, text)) for text in request.texts])

    def CountTokens(self, request, context):
        self._begin(request, context)
        return CountTokensResponse(counts=[len(text) for text in request.texts])

    def _begin(self, request, context):
        metadata = dict(context.invocation_metadata())
        self.seen.append(
            SimpleNamespace(request=request, metadata=metadata, remaining=context.time_remaining())
        )
        if self.refusals:
            context.abort_with_status(rpc_status.to_status(self.refusals.popleft()))

    def Generate(self, request, context):
        self._begin(request, context)
        if request.prompt == "wait":
            self.release.wait(30)
        return GenerateResponse(completions=[Completion(text=request.prompt + "ab")])

    def GenerateStream(self, request, context):
        self._begin(request, context)
        context.add_callback(self.left.set)
        yield GenerateStreamResponse(text=request.prompt)
        if self.refuse_after_first:
            context.abort_with_status(rpc_status.to_status(self.refuse_after_first))
        if request.prompt == "wait":
            self.release.wait(30)
        for text in ("", "a", "b"):
            yield GenerateStreamResponse(text=text, seed=7)

    def UploadDataset(self, request_iterator, context):
        size = sum(len(part.chunk) for part in request_iterator)
        self._begin(None, context)
        return UploadDatasetResponse(dataset=Dataset(size_bytes=size))

    def EmbedStream(self, request_iterator, context):
        self._begin(None, context)
        context.add_callback(self.left.set)
        first = 0
        for request in request_iterator:
            self.parts.append(request)
            yield EmbedStreamResponse(
                embeddings=reversed(embeddings(request.inputs, first)), dimensions=len(request.inputs)
            )
            first += len(request.inputs)
        yield EmbedStreamResponse(usage=Usage(input_tokens=first))
