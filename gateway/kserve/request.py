"""An inference as both doors understand it, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.kserve.tensors import Content, Raw, Tensor
from pequod.common.v1 import Usage

Value: TypeAlias = bool | int | float | str
"""Of a parameter."""


@dataclass(frozen=True, eq=False)
class GivenTensor:
    """An input as it came."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: Content
    parameters: Mapping[str, Value] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        """How much there is to read: bytes, or elements."""
        return len(self.content.data if isinstance(self.content, Raw) else self.content)


@dataclass(frozen=True, eq=False)
class InferRequest:
    """Asks for a run. ``model`` is a name or a reference; an empty ``version`` leaves the choice."""

    model: str
    version: str
    id: str
    parameters: Mapping[str, Value]
    inputs: Sequence[GivenTensor]
    outputs: Mapping[str, Mapping[str, Value]]
    """Those to return, with their parameters; empty for all."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model answers: all of it, or one piece."""

    outputs: Sequence[Tensor]
    rows: int = 1
    """Inferences in it, as statistics count them."""
    usage: Usage = field(default_factory=Usage)
    parameters: Mapping[str, Value] = field(default_factory=dict)
    is_last: bool = True


@dataclass(frozen=True, eq=False)
class InferReply:
    """What goes back: the outputs that were asked for."""

    model: str
    version: str
    id: str
    parameters: Mapping[str, Value]
    outputs: Sequence[Tensor]
    is_last: bool

    @property
    def size(self) -> int:
        """Elements of all outputs."""
        return sum(tensor.values.size for tensor in self.outputs)
