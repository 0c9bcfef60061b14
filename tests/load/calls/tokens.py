"""Counts of tokens: the cheapest call there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pequod.tokenizer.v1 import CountTokensRequest, TokenizerServiceStub
from tests.load.calls.doors import Doors
from tests.load.calls.known import Known
from tests.load.core.callers import Call
from tests.load.core.judging import WrongPayload
from tests.load.core.outcome import Marks

TEXT, COUNT = 'Who\'d use "后" vs. "後"?', 11
"""A text and its number of tokens in cl100k."""


@dataclass(frozen=True)
class Tokens:
    """Counts the tokens of one short text."""

    SERVICE: ClassVar = "tokenizer"
    DOORS: ClassVar = ("grpc", "json", "openai")

    door: str = "grpc"
    timeout: float = 10.0

    def call(self, doors: Doors, known: Known) -> Call:
        """One call after the other."""
        stub = TokenizerServiceStub(doors.channel)

        async def call(marks: Marks) -> None:
            count = await self._count(doors, stub)
            if count != COUNT:
                raise WrongPayload(f"{count} tokens, {COUNT} are due")

        return call

    async def _count(self, doors: Doors, stub: TokenizerServiceStub) -> int:
        if self.door == "json":
            path = "/pequod.tokenizer.v1.TokenizerService/CountTokens"
            reply = await doors.post(path, {"model": "cl100k", "texts": [TEXT]}, self.timeout)
            return int(reply["counts"][0])
        if self.door == "openai":
            reply = await doors.post("/v1/tokenize", {"model": "cl100k", "prompt": TEXT}, self.timeout)
            return int(reply["count"])
        request = CountTokensRequest(model="cl100k", texts=[TEXT])
        reply = await doors.begun(stub.CountTokens, request, self.timeout)
        return int(reply.counts[0])
