"""Faces of seeds, and walks between them."""

from __future__ import annotations

import base64
import random
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pequod.gan.v1 import GanServiceStub, InterpolateRequest, Origin, SampleRequest
from tests.load.calls.doors import Doors
from tests.load.calls.known import Known
from tests.load.calls.pictures import check_picture
from tests.load.calls.reading import Reading
from tests.load.core.callers import Call
from tests.load.core.judging import WrongPayload
from tests.load.core.outcome import Marks


@dataclass(frozen=True)
class Face:
    """Draws one face, or with ``frames`` a walk of so many."""

    SERVICE: ClassVar = "gan"
    DOORS: ClassVar = ("grpc", "json")

    door: str = "grpc"
    model: str = "peeps-gan"
    size: int = 32
    frames: int = 0
    seeds: int = 16
    timeout: float = 30.0
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        if self.frames and self.door != "grpc":
            raise ValueError("frames: only by gRPC")
        self.reading.only_if(bool(self.frames))

    def call(self, doors: Doors, known: Known) -> Call:
        """One call after the other."""
        dice, stub = random.Random(self.model), GanServiceStub(doors.channel)

        async def call(marks: Marks) -> None:
            seed = dice.randrange(self.seeds)
            if self.frames:
                await self._walk(doors, stub, seed, marks, known)
            else:
                data = await self._face(doors, stub, seed)
                check_picture(data, self.size, (self.model, seed), known)

        return call

    async def _face(self, doors: Doors, stub: Any, seed: int) -> bytes:
        if self.door == "json":
            path = "/pequod.gan.v1.GanService/Sample"
            reply = await doors.post(path, {"model": self.model, "seeds": [str(seed)]}, self.timeout)
            return base64.b64decode(reply["images"][0]["image"]["data"])
        request = SampleRequest(model=self.model, seeds=[seed])
        reply = await doors.begun(stub.Sample, request, self.timeout)
        [image] = reply.images
        return bytes(image.image.data)

    async def _walk(self, doors: Doors, stub: Any, seed: int, marks: Marks, known: Known) -> None:
        stops = [Origin(seed=seed), Origin(seed=seed + 1)]
        request = InterpolateRequest(model=self.model, stops=stops, frames=self.frames)
        came = 0
        async with aclosing(self.reading.of(doors.begun(stub.Interpolate, request, self.timeout))) as replies:
            async for reply in replies:
                if reply.HasField("frame"):
                    marks.piece()
                    question = (self.model, "walk", self.frames, seed, reply.frame.index)
                    check_picture(reply.frame.image.image.data, self.size, question, known)
                    came += 1
        if came != self.frames:
            raise WrongPayload(f"{came} frames, {self.frames} are due")
