"""Images in the making, and how those of many requests advance together: one call of the network for all.

Rows of a call may be at different levels, by different schedulers, with other texts, guidance and adapters.
What an image gets depends on its own rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

from services.diffusion.engine import Denoiser, Question, Text
from services.diffusion.painting.guidance import Guidance
from services.diffusion.schedulers.levels import Array, Levels
from services.diffusion.schedulers.walk import Call, Walk, clean_of


@dataclass(eq=False)
class Painting:
    """One image on its way from noise to picture."""

    walk: Walk
    levels: Levels
    steps: int
    text: Text
    untold: Text
    """What the network reads in place of the text: the negative prompt."""
    guidance: Guidance
    adapters: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        self.result: Array | None = None
        """The picture, once it is finished."""
        self.call: Call = next(self.walk)
        self.calls = 0
        self._last: tuple[Call, Array] | None = None

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to ask."""
        return self.result is not None

    @property
    def rows(self) -> int:
        """Of its next call."""
        return 2 if self._steers else 1

    def questions(self) -> list[Question]:
        """The rows of its next call: one, or two where guidance steers."""
        texts = [self.text, self.untold] if self._steers else [self.text]
        call = self.call
        return [Question(call.sample, call.timestep, text, self.adapters) for text in texts]

    def answer(self, said: Rows[Array]) -> None:
        """Go on with what the network says of ``questions``."""
        output = self.guidance.combine(*said) if self._steers else said[0]
        self.calls += 1
        self._last = (self.call, output)
        try:
            self.call = self.walk.send(output)
        except StopIteration as done:
            self.result = done.value

    def preview(self) -> Array:
        """The clean picture that the network saw last."""
        assert self._last is not None, "a preview follows a call"
        return clean_of(self.levels, *self._last)

    @property
    def _steers(self) -> bool:
        return self.guidance.steers(self.call.step, self.steps)


def advance(paintings: Rows[Painting], denoiser: Denoiser) -> None:
    """One call further with each of them, in as few calls as the network's rows allow.

    All paintings have one shape.
    """
    asked = [painting.questions() for painting in paintings]
    flat = [question for questions in asked for question in questions]
    said: list[Array] = []
    for begin in range(0, len(flat), denoiser.rows):
        said += denoiser.predict(flat[begin : begin + denoiser.rows])
    place = 0
    for painting, questions in zip(paintings, asked, strict=True):
        painting.answer(said[place : place + len(questions)])
        place += len(questions)
