"""The contract between the scheduler and what runs a model: n-grams or a transformer."""

from __future__ import annotations

import enum
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from services.sampler.ngrams.alphabet import Alphabet, Ids
from services.sampler.ngrams.chain import Smoothing

if TYPE_CHECKING:
    from services.sampler.sequence import Sequence


@dataclass(frozen=True)
class Traits:
    """What a model can be asked, for requests to be checked against."""

    vocabulary_size: int
    order: int | None = None
    """The largest N of an n-gram model; None for other models."""
    smoothings: frozenset[Smoothing] = field(default_factory=frozenset)
    window: int | None = None
    """Positions of prompt and output together; None when there is no limit."""
    bos: int | None = None
    """The token that a text begins with when it would be empty; None for models that begin from nothing."""
    eos: frozenset[int] = field(default_factory=frozenset)
    """The model's own tokens that end a text."""
    layers: int = 0
    """Layers that can be looked into."""
    chat: Chat | None = None
    """How a conversation becomes a prompt; None for a model without a chat template."""
    forms: Forms | None = None
    """How text is held to a form; None for models that cannot."""
    adapters: Adapters | None = None
    """Which adapters can change it; None for models that none can."""

    @property
    def is_ngram(self) -> bool:
        """Whether it is an n-gram model."""
        return self.order is not None


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    content: str


class Chat(Protocol):
    """A model's chat template."""

    def encode(self, messages: Rows[Message]) -> Ids:
        """The prompt that asks for the next message. Raises INVALID_ARGUMENT when the template refuses."""
        ...


class FormKind(enum.Enum):
    """How a form is written; the values are the fields of ``StructuredOutput``."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    GRAMMAR = "grammar"


class Form(Protocol):
    """A form that a text must have, ready to be followed; what it starts is the engine's affair."""

    def start(self) -> object:
        """At the beginning of a text."""
        ...


class Forms(Protocol):
    """The forms that a model's tokens can be held to."""

    def compile(self, kind: FormKind, text: str) -> Form:
        """The form that ``text`` describes. Raises INVALID_ARGUMENT with what is wrong with it."""
        ...


class Adapter(Protocol):
    """Changes of a model's weights that a request can ask for."""

    @property
    def key(self) -> str:
        """Tells apart adapters that give different results."""
        ...


class Adapters(Protocol):
    """The adapters that a model takes."""

    def admit(self, adapter: Adapter) -> None:
        """Make ready for an adapter, which may take a while. INVALID_ARGUMENT for one that does not fit."""
        ...


class Finish(enum.Enum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"
    EXHAUSTED = "exhausted"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Alternative:
    """A symbol that could have stood at a position, with its natural log probability."""

    symbol: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Position:
    """A symbol and how likely it was; ``symbol`` is UNKNOWN for a character that the alphabet lacks."""

    symbol: int
    logprob: float
    context_used: int
    top: Rows[Alternative] = ()


@dataclass(frozen=True, slots=True)
class TableRow:
    """One candidate for the next symbol."""

    symbol: int
    probability: float
    logprob: float
    count: int


@dataclass(frozen=True, slots=True)
class Table:
    """The distribution of the next symbol, likeliest first."""

    rows: Rows[TableRow]
    candidates: int
    entropy_bits: float
    context_used: int
    context_count: int


@dataclass(frozen=True, eq=False, slots=True)
class Inside:
    """What happens to a prompt in a transformer. State 0 is the embedding, state k what layer k leaves."""

    embeddings: npt.NDArray[np.float32]
    """The matrix that goes in [tokens, dimensions]."""
    norms: npt.NDArray[np.float32]
    """Euclidean norms of the residual stream [states, tokens]."""
    readouts: Rows[Rows[Alternative]]
    """The tokens that the last position of each state would give, likeliest first."""
    attention: npt.NDArray[np.float32]
    """[layers, heads, chosen positions, tokens]."""


@dataclass(slots=True)
class Output:
    """What one step gave one sequence. Text and ids agree: neither holds part of a stop string."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    logprob: float = 0.0
    """Sum over all ids so far, or all positions scored; -inf when one of these was impossible.

    A running sum: how outputs are added up later cannot change its last bits.
    """
    positions: list[Position] = field(default_factory=list)
    prompt_positions: list[Position] = field(default_factory=list)
    scored: int = 0
    impossible: int = 0
    table: Table | None = None
    finish: Finish | None = None
    stop_matched: str = ""
    error: Exception | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell: all text of the step is held back, or it only read."""
        return not (self.ids or self.text or self.prompt_positions or self.finish or self.error)

    def add(self, later: Output) -> None:
        """Append what a later step gave."""
        self.text += later.text
        self.ids += later.ids
        self.logprob = later.logprob
        self.positions += later.positions
        self.prompt_positions += later.prompt_positions
        self.scored += later.scored
        self.impossible += later.impossible
        self.table = later.table or self.table
        self.finish = later.finish
        self.stop_matched = later.stop_matched
        self.error = later.error


@dataclass
class Figures:
    """What an engine with a cache of keys and values counts, for metrics."""

    used_ratio: float = 0.0
    """Share of the cache's positions that are filled."""
    prefix_hits: int = 0
    """Prompt tokens that were found in the cache and not read again, in all."""
    preemptions: int = 0
    """Times a sequence had to give its place in the cache to others, in all."""


class Engine(Protocol):
    """Advances sequences of one model. All calls come one at a time, never from two threads at once."""

    name: str
    """The model's name, for metrics."""
    alphabet: Alphabet
    traits: Traits
    figures: Figures

    def step(self, sequences: Rows[Sequence]) -> list[Output]:
        """Advance each sequence by some symbols or a part of its prompt; one output each, in order.

        The output of one that the engine has no room for now is empty. A sequence that fails says so in
        its own output and disturbs no other. A step is short, so that sequences join and leave often.
        """
        ...

    def release(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended or whose caller left; unknown ones are ignored."""
        ...

    def inspect(self, ids: Ids, chosen: Ids, top: int) -> Inside:
        """What happens to a prompt's ids, with the attention of the positions ``chosen``; at any time.

        FAILED_PRECONDITION, UNSUPPORTED, for models without layers.
        """
        ...
