"""Vectors of texts: one reply, or a stream in bulk."""

from __future__ import annotations

import base64
import math
import random
from array import array
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from google.protobuf.json_format import MessageToDict

from pequod.tokenizer.v1 import EmbeddingServiceStub
from pequod_client.embeddings import Bulk, embed_request, indexed_vectors_of, vectors_of
from tests.load.calls.doors import Doors
from tests.load.calls.known import Known
from tests.load.calls.reading import Reading
from tests.load.core.callers import Call
from tests.load.core.judging import WrongPayload
from tests.load.core.outcome import Marks

_WORDS = ("whale", "ship", "captain", "sea", "harbour", "storm", "letter", "lamp", "road", "winter")


@dataclass(frozen=True)
class Embed:
    """Embeds ``texts`` texts of ``words`` words."""

    SERVICE: ClassVar = "tokenizer"
    DOORS: ClassVar = ("grpc", "json", "openai")

    door: str = "grpc"
    stream: bool = False
    model: str = "minilm"
    dimensions: int = 384
    texts: int = 4
    words: int = 8
    variety: int = 16
    """Different texts there are."""
    timeout: float = 30.0
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        if self.stream and self.door != "grpc":
            raise ValueError("stream: only by gRPC")
        self.reading.only_if(self.stream)

    def call(self, doors: Doors, known: Known) -> Call:
        """One call after the other."""
        dice, stub = random.Random(self.words), EmbeddingServiceStub(doors.channel)
        all_texts = [" ".join(dice.choices(_WORDS, k=self.words)) for _ in range(self.variety)]

        async def call(marks: Marks) -> None:
            texts = dice.choices(all_texts, k=self.texts)
            vectors = await self._vectors(doors, stub, texts, marks)
            if len(vectors) != len(texts):
                raise WrongPayload(f"{len(vectors)} vectors of {len(texts)} texts")
            for text, vector in zip(texts, vectors, strict=True):
                self._check(vector)
                known.near((self.model, text), vector)

        return call

    def _check(self, vector: Sequence[float]) -> None:
        if len(vector) != self.dimensions:
            raise WrongPayload(f"a vector of {len(vector)} numbers, {self.dimensions} are due")
        length = math.hypot(*vector)
        if not abs(length - 1) < 1e-3:
            raise WrongPayload(f"a vector of length {length:g}, 1 is due")

    async def _vectors(self, doors: Doors, stub: Any, texts: list[str], marks: Marks) -> list[list[float]]:
        request = embed_request(texts, {"model": self.model})
        if self.door == "json":
            request.options.ClearField("format")  # plain numbers
            path = "/pequod.tokenizer.v1.EmbeddingService/Embed"
            reply = await doors.post(path, MessageToDict(request), self.timeout)
            return [each["values"] for each in reply["embeddings"]]
        if self.door == "openai":
            body = {"model": self.model, "input": texts, "encoding_format": "base64"}
            reply = await doors.post("/v1/embeddings", body, self.timeout)
            return [_floats(base64.b64decode(each["embedding"])) for each in reply["data"]]
        if not self.stream:
            return vectors_of(await doors.begun(stub.Embed, request, self.timeout))
        return await self._streamed(doors, stub, texts, marks)

    async def _streamed(self, doors: Doors, stub: Any, texts: list[str], marks: Marks) -> list[list[float]]:
        found: dict[int, list[float]] = {}
        requests = Bulk(texts, {"model": self.model}).requests_async()
        call = doors.begun(stub.EmbedStream, requests, self.timeout)
        async with aclosing(self.reading.of(call)) as replies:
            async for reply in replies:
                if reply.embeddings:
                    marks.piece(len(reply.embeddings))
                found |= dict(indexed_vectors_of(reply))
        return [found[index] for index in sorted(found)]


def _floats(data: bytes) -> list[float]:
    return array("f", data).tolist()
