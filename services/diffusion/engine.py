"""The contract between requests and what paints: a model's network, its reader of texts, its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from services.diffusion.profile import Profile
from services.diffusion.schedulers.levels import Array, Levels

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3] of RGB."""


@dataclass(frozen=True, eq=False)
class Text:
    """A prompt as the network reads it."""

    inputs: Mapping[str, npt.NDArray[Any]]
    """What a row has beside sample and timestep, by the names of the network's inputs."""


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """One row of a call."""

    sample: Array
    """[channels, height, width]."""
    timestep: float
    text: Text
    adapters: tuple[tuple[int, float], ...] = ()
    """(place, scale) of each adapter that changes the network for this row."""


class Denoiser(Protocol):
    """The network of one model. A row's answer is the same to the bit in any company."""

    rows: int
    """The most rows of a call: more are no faster."""
    profile: Profile
    """How long calls take, as measured when the model was loaded."""

    def predict(self, questions: Rows[Question]) -> Rows[Array]:
        """What the network says of each row, [channels, height, width]; all rows have one shape."""
        ...


@dataclass(frozen=True)
class Traits:
    """What a model can be asked, for requests to be checked against, and what it does unless told."""

    channels: int
    """Of what the network sees."""
    factor: int
    """Pixels a side of one of its places: 1 for a model of pixels, 8 for latents of Stable Diffusion."""
    width: int
    height: int
    multiple: int
    """Width and height are multiples of it."""
    largest: int
    """Most pixels a side."""
    scheduler: str
    steps: int
    guidance: float
    schedulers: frozenset[str]
    negative: bool = True
    """Whether guidance is against a second text; else the network has it in itself."""
    second_prompt: bool = False
    """Whether a second text encoder reads a prompt of its own."""
    patch: int = 1
    """Places a side of what the network takes for one token."""

    def tokens(self, width: int, height: int) -> int:
        """How many tokens a picture is; some flow models shift their levels by it (``Levels.sized``)."""
        side = self.factor * self.patch
        return (height // side) * (width // side)


@dataclass(frozen=True)
class Prompts:
    """The texts of one request."""

    prompt: str
    negative: str = ""
    second: str = ""
    negative_second: str = ""


@dataclass(frozen=True)
class Reading:
    """Prompts as a network reads them."""

    told: Text
    untold: Text
    cut: str = ""
    """The end of the prompt that there was no room for."""
    cut_negative: str = ""


class Adapter(Protocol):
    """Changes of a model's weights that a request can ask for."""

    @property
    def key(self) -> str:
        """Tells apart adapters that give different results."""
        ...


Scaled = tuple[Adapter, float]
"""An adapter, and how strongly it counts."""


class Adapters(Protocol):
    """The adapters that a model takes, and which of them are in its network now."""

    def check(self, adapter: Adapter) -> None:
        """Raises INVALID_ARGUMENT for an adapter that is not for this model, naming both."""
        ...

    def holds(self, adapter: Adapter) -> bool:
        """Whether it is in the network already."""
        ...

    def take(self, adapter: Adapter) -> int | None:
        """The place where the adapter is now, until ``leave``; None while others use all places."""
        ...

    def leave(self, adapter: Adapter) -> None:
        """One of the adapter's users has gone."""
        ...


@runtime_checkable
class Model(Protocol):
    """A diffusion model. ``read``, ``encode`` and ``decode`` may run in several threads at once."""

    name: str
    traits: Traits
    levels: Levels
    denoiser: Denoiser
    adapters: Adapters | None
    """None for models that take none."""

    def read(
        self, prompts: Prompts, width: int, height: int, guidance: float, adapters: Rows[Scaled] = ()
    ) -> Reading:
        """Texts for pictures of a size. ``adapters`` have been checked; some change text encoders too."""
        ...

    def encode(self, picture: Pixels, seed: int) -> Array:
        """What the network sees of a picture: [channels, height, width]; ``seed`` for encoders that draw."""
        ...

    def decode(self, painted: Array) -> Pixels:
        """The picture of what the network made."""
        ...


@runtime_checkable
class Upscaler(Protocol):
    """Makes small pictures larger. May run in several threads at once."""

    name: str
    factors: tuple[int, ...]

    def enlarge(self, picture: Pixels, factor: int) -> Pixels:
        """``factor`` times as wide and as high."""
        ...


class Ranker(Protocol):
    """Says how well pictures fit a text. May run in several threads at once."""

    name: str

    def scores(self, prompt: str, pictures: Rows[Pixels]) -> Rows[float]:
        """The cosine of text and picture, for each picture."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
