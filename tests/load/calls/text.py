"""Texts by a language model or n-grams: unary or streamed, through every door."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from google.protobuf.json_format import MessageToDict

from pequod.sampler.v1 import GenerateRequest, GenerateStreamRequest, SamplerServiceStub
from pequod_client.text import TextSettings, generate_request
from tests.load.calls.doors import Doors
from tests.load.calls.known import Known
from tests.load.calls.reading import Reading
from tests.load.core.callers import Call
from tests.load.core.judging import WrongPayload
from tests.load.core.outcome import Marks

_METHOD = "/pequod.sampler.v1.SamplerService"


@dataclass(frozen=True)
class Text:
    """Writes exactly ``tokens`` tokens after ``prompt``, of few seeds, so that answers repeat."""

    SERVICE: ClassVar = "sampler"
    DOORS: ClassVar = ("grpc", "json", "openai")

    door: str = "grpc"
    stream: bool = False
    model: str = "storyteller"
    prompt: str = "The old captain"
    tokens: int = 24
    order: int = 0
    """Of n-gram models; 0: the model's."""
    seeds: int = 8
    timeout: float = 30.0
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        self.reading.only_if(self.stream and self.door == "grpc")

    def call(self, doors: Doors, known: Known) -> Call:
        """One call after the other."""
        dice = random.Random(self.prompt)
        stub = SamplerServiceStub(doors.channel)

        async def call(marks: Marks) -> None:
            seed = dice.randrange(self.seeds)
            pieces = []
            async with aclosing(self._pieces(doors, stub, seed)) as texts:
                async for text, count in texts:
                    if self.stream:
                        marks.piece(count)
                    else:
                        marks.tokens += count
                    pieces.append(text)
            text = "".join(pieces)
            if not text:
                raise WrongPayload("no text")
            if self._counts and marks.tokens != self.tokens:
                raise WrongPayload(f"{marks.tokens} tokens, {self.tokens} are due")
            known.same((self.model, self.prompt, self.order, self.tokens, seed), text)

        return call

    def _pieces(self, doors: Doors, stub: Any, seed: int) -> AsyncIterator[tuple[str, int]]:
        by_door = {"grpc": self._by_grpc, "json": self._by_json, "openai": self._by_openai}
        return by_door[self.door](doors, stub, seed)

    @property
    def _counts(self) -> bool:
        """Whether its replies tell their tokens; OpenAI's events do not."""
        return not (self.stream and self.door == "openai")

    def _request(self, seed: int) -> GenerateRequest:
        settings = TextSettings(model=self.model, seed=seed, max_tokens=self.tokens, temperature=1.0)
        request = generate_request(self.prompt, {**settings, "order": self.order} if self.order else settings)
        request.stopping.min_tokens = self.tokens
        return request

    async def _by_grpc(self, doors: Doors, stub: Any, seed: int) -> AsyncIterator[tuple[str, int]]:
        request = self._request(seed)
        if not self.stream:
            reply = await doors.begun(stub.Generate, request, self.timeout)
            [completion] = reply.completions
            yield completion.text, len(completion.ids)
            return
        finished = False
        # Both messages have the same fields and numbers.
        streamed = GenerateStreamRequest.FromString(request.SerializeToString())
        call = doors.begun(stub.GenerateStream, streamed, self.timeout)
        async with aclosing(self.reading.of(call)) as replies:
            async for reply in replies:
                finished = finished or bool(reply.finish_reason)
                if reply.ids:
                    yield reply.text, len(reply.ids)
        _ended(finished)

    async def _by_json(self, doors: Doors, _: Any, seed: int) -> AsyncIterator[tuple[str, int]]:
        body = MessageToDict(self._request(seed))
        if not self.stream:
            reply = await doors.post(f"{_METHOD}/Generate", body, self.timeout)
            [completion] = reply["completions"]
            yield completion["text"], len(completion["ids"])
            return
        finished = False
        async with aclosing(doors.lines(f"{_METHOD}/GenerateStream", body, self.timeout)) as lines:
            async for line in lines:
                finished = finished or "finishReason" in line
                if line.get("ids"):
                    yield line.get("text", ""), len(line["ids"])
        _ended(finished)

    async def _by_openai(self, doors: Doors, _: Any, seed: int) -> AsyncIterator[tuple[str, int]]:
        body = {"model": self.model, "prompt": self.prompt, "max_tokens": self.tokens, "temperature": 1.0}
        body |= {
            "seed": seed,
            "stream": self.stream,
            "min_tokens": self.tokens,
            **({"order": self.order} if self.order else {}),
        }
        if not self.stream:
            reply = await doors.post("/v1/completions", body, self.timeout)
            [choice] = reply["choices"]
            yield choice["text"], reply["usage"]["completion_tokens"]
            return
        finished = False
        async with aclosing(doors.events("/v1/completions", body, self.timeout)) as events:
            async for event in events:
                for choice in event["choices"]:
                    finished = finished or choice["finish_reason"] is not None
                    if choice["text"]:
                        yield choice["text"], 1
        _ended(finished)


def _ended(finished: bool) -> None:
    if not finished:
        raise WrongPayload("the stream ended before the text did")
