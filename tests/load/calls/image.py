"""Pictures of prompts, with the steps on the way."""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from google.protobuf.json_format import MessageToDict

from pequod.diffusion.v1 import SCHEDULER_LCM, DiffusionServiceStub, GenerateRequest
from tests.load.calls.doors import Doors
from tests.load.calls.known import Known
from tests.load.calls.pictures import check_picture
from tests.load.calls.reading import Reading
from tests.load.core.callers import Call
from tests.load.core.judging import WrongPayload
from tests.load.core.outcome import Marks


@dataclass(frozen=True)
class Image:
    """Paints a picture in ``steps`` steps; with ``quick`` by the scheduler for few, without guidance."""

    SERVICE: ClassVar = "diffusion"
    DOORS: ClassVar = ("grpc", "json", "openai")

    door: str = "grpc"
    model: str = "peeps-diffusion"
    prompt: str = "a smiling person with red hair"
    steps: int = 4
    quick: bool = True
    size: int = 32
    seeds: int = 8
    timeout: float = 60.0
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        self.reading.only_if(self.door == "grpc")

    def call(self, doors: Doors, known: Known) -> Call:
        """One call after the other."""
        dice, stub = random.Random(self.prompt), DiffusionServiceStub(doors.channel)

        async def call(marks: Marks) -> None:
            seed, pictures = dice.randrange(self.seeds), []
            async with aclosing(self._pictures(doors, stub, seed, marks)) as found:
                async for data in found:
                    pictures.append(data)
            if len(pictures) != 1:
                raise WrongPayload(f"{len(pictures)} pictures, 1 is due")
            # Through OpenAI's door there is no scheduler to name.
            way = self.quick and self.door != "openai"
            question = (self.model, self.prompt, self.steps, way, seed)
            check_picture(pictures[0], self.size, question, known)

        return call

    def _request(self, seed: int) -> GenerateRequest:
        request = GenerateRequest(model=self.model, prompt=self.prompt, steps=self.steps, seed=seed)
        if self.quick:
            request.scheduler, request.guidance_scale = SCHEDULER_LCM, 1.0
        return request

    async def _pictures(self, doors: Doors, stub: Any, seed: int, marks: Marks) -> AsyncIterator[bytes]:
        request = self._request(seed)
        if self.door == "openai":
            body = {"model": self.model, "prompt": self.prompt, "steps": self.steps, "seed": seed}
            body |= {"size": f"{self.size}x{self.size}", **({"guidance_scale": 1.0} if self.quick else {})}
            reply = await doors.post("/v1/images/generations", body, self.timeout)
            for each in reply["data"]:
                yield base64.b64decode(each["b64_json"])
        elif self.door == "json":
            path = "/pequod.diffusion.v1.DiffusionService/Generate"
            async with aclosing(doors.lines(path, MessageToDict(request), self.timeout)) as lines:
                async for line in lines:
                    marks.piece()
                    if "image" in line:
                        yield base64.b64decode(line["image"]["image"]["data"])
        else:
            call = doors.begun(stub.Generate, request, self.timeout)
            async with aclosing(self.reading.of(call)) as replies:
                async for reply in replies:
                    marks.piece()
                    if reply.HasField("image"):
                        yield reply.image.image.data
