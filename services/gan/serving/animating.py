"""Moving pictures: all frames in memory, then one file of them, in a lane of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

from services.common.errors import invalid
from services.common.pictures.reading import Pixels
from services.common.work import Work
from services.gan.pictures import Moving, animation
from services.gan.serving.places import Places

MOST_BYTES = 16 * 2**20
MOST_PIXELS = 48_000_000
"""Of all frames; three bytes each."""


class Animator:
    """Makes the moving pictures of all requests, one at a time."""

    def __init__(self, lane: Work, places: Places) -> None:
        self._lane, self._places = lane, places

    @contextlib.contextmanager
    def place(self, frames: int, side: int) -> Iterator[None]:
        """Room for so many frames. INVALID_ARGUMENT for more than there is, UNAVAILABLE while it is taken."""
        if frames * side**2 > MOST_PIXELS:
            most = MOST_PIXELS // side**2
            raise invalid("frames", f"at most {most} of {side} x {side} pixels, got {frames}")
        with self._places.place():
            yield

    async def encode(
        self, frames: Sequence[Pixels], kind: Moving, per_second: int, deadline: float | None
    ) -> bytes:
        """The file. INVALID_ARGUMENT for one that is too large to send."""
        data = (await self._lane.run(partial(animation, frames, kind, per_second), deadline)).value
        if len(data) > MOST_BYTES:
            limit = f"the moving picture has {len(data)} bytes, at most {MOST_BYTES}: fewer or smaller ones"
            raise invalid("frames", limit)
        return data
