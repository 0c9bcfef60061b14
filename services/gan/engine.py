"""The contract between requests and what draws: latent codes, drafts of images, a model's networks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from typing import Protocol

from services.common.pictures.arrays import Array
from services.common.pictures.reading import Pixels
from services.gan.companions.directions import Directions
from services.gan.companions.neighbours import Neighbours
from services.gan.companions.references import References
from services.gan.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Traits:
    """What a model can be asked, and what it does unless told."""

    size: int
    """Pixels of a side."""
    latent: int
    """Numbers of a latent vector, the mapping network's input."""
    layers: int
    """Of synthesis, each of which takes a style."""
    width: int
    """Numbers of a style."""
    places: int
    """Values of fine noise in an image; 0 for models that take none."""
    vocabulary: Vocabulary
    psi: float = 1.0
    """Truncation of requests that do not say."""
    regularization: float = 0.01
    """A projection's pull towards the mean, of requests that do not say."""


@dataclass(frozen=True, eq=False)
class Latent:
    """A place in the mapping network's input space, and how far its code goes from the mean."""

    z: Array
    """[latent]."""
    attributes: Array
    """[words] of 0 and 1; all 0 state nothing."""
    psi: float = 1.0
    cutoff: int = 0
    """Layers that are truncated, from the coarsest; 0: all."""


Source = Latent | Array
"""Where a code comes from: a latent vector, or [layers, width] as an earlier reply gave it."""

Blend = Callable[[Rows[Array]], Array]
"""An image's code of those of its sources, each [layers, width]."""


@dataclass(frozen=True, eq=False)
class Draft:
    """One image to be drawn."""

    sources: tuple[Source, ...]
    blend: Blend
    noise_seed: int = 0
    noise_strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image as the generator made it."""

    picture: Pixels
    code: Array
    """[layers, width]."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A picture for the discriminator."""

    picture: Array
    """[3, size, size] from -1 to 1."""
    attributes: Array
    """[words]."""


@dataclass(frozen=True, eq=False)
class Companions:
    """What a version has beside its networks; None for what it lacks."""

    directions: Directions | None = None
    neighbours: Neighbours | None = None
    references: References | None = None


@dataclass(frozen=True, eq=False)
class Aim:
    """A picture whose code is wanted, and how it is looked for."""

    picture: Array
    """[3, size, size] from -1 to 1."""
    begin: Array
    """[layers, width]."""
    rate: float
    regularization: float
    noise_seed: int
    noise_strength: float


class Descent(Protocol):
    """The way to a code, step by step."""

    def step(self) -> float:
        """One step of the optimiser; returns the loss before it. Blocking."""
        ...

    def code(self) -> Array:
        """[layers, width]: where it stands."""
        ...


class Model(Protocol):
    """A GAN. Its methods may run in several threads; a row's answer is the same to the bit in any company."""

    name: str
    traits: Traits
    companions: Companions

    def draw(self, drafts: Rows[Draft]) -> Rows[Drawn]:
        """Images, in the order of their drafts."""
        ...

    def judge(self, rows: Rows[Judged]) -> Rows[float]:
        """Logits of the discriminator, high for real."""
        ...

    def guess(self, picture: Array) -> Array | None:
        """[layers, width]: the encoder's guess of a picture's code; None for models without one."""
        ...

    def mean(self) -> Array:
        """[layers, width]: the mean code."""
        ...

    def descend(self, aim: Aim) -> Descent:
        """Begin a projection; blocking. FAILED_PRECONDITION where torch is not installed."""
        ...

    def settle(self) -> None:
        """Run everything once, before the first request does."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Upscaler(Protocol):
    """Makes small pictures larger. May run in several threads at once."""

    name: str
    factors: tuple[int, ...]

    def enlarge(self, picture: Pixels, factor: int) -> Pixels:
        """``factor`` times as wide and as high."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Eyes(Protocol):
    """Turns pictures into points of a feature space. May run in several threads at once."""

    name: str
    """Reference of the version."""

    def see(self, picture: Pixels) -> Array:
        """[dimensions] of length 1."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
