"""Which layers of a model adapters may change, and an adapter's factors in the shape of those layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.errors import invalid
from services.common.lora import Adapter, Factors
from services.sampler.transformer.lora.adapter import Pair


@dataclass(frozen=True)
class Linear:
    """A linear layer of a runner, which may be several layers of the checkpoint beside each other."""

    inputs: int
    parts: Sequence[tuple[str, int]]
    """(name in the checkpoint as ``bare`` gives it, outputs)."""

    @property
    def outputs(self) -> int:
        """Outputs of all parts."""
        return sum(outputs for _, outputs in self.parts)

    def inner(self, rank: int) -> int:
        """Numbers between the two factors, when each part has ``rank``."""
        return rank * len(self.parts)


def widths(inputs: Iterable[int]) -> list[int]:
    """The different widths of layers' inputs."""
    return sorted(set(inputs))


@dataclass(frozen=True)
class Linears:
    """The layers of one model, in the order its runner has them."""

    layers: Sequence[Linear]
    rank: int
    """The largest rank that a part may have."""

    @classmethod
    def of_facts(cls, facts: Sequence[Mapping[str, Any]], rank: int) -> Linears:
        """From what was noted with the model's graph: JSON of ``Linear``."""
        layers = [
            Linear(each["inputs"], [(name, outputs) for name, outputs in each["parts"]]) for each in facts
        ]
        return cls(layers, rank)

    def check(self, adapter: Adapter) -> None:
        """Raises INVALID_ARGUMENT when the adapter is not for this model, or its rank is too large."""
        if adapter.rank > self.rank:
            raise invalid(
                "adapter",
                f"{adapter.name} has rank {adapter.rank}; ranks up to {self.rank} are served "
                "(PEQUOD_SAMPLER_ADAPTER_RANK)",
            )
        sizes = {name: (layer.inputs, outputs) for layer in self.layers for name, outputs in layer.parts}
        for name, factors in adapter.factors.items():
            found = (factors.down.shape[1], len(factors.up))
            if name not in sizes:
                raise invalid("adapter", f"{adapter.name} changes {name}, which the model does not have")
            if found != sizes[name]:
                has, wants = (f"{inputs} -> {outputs}" for inputs, outputs in (sizes[name], found))
                raise invalid("adapter", f"{adapter.name} is for {name} of {wants}, and the model's is {has}")

    def factors(self, adapter: Adapter) -> list[Pair | None]:
        """Of each layer that changes: down [inputs, parts * rank], up [parts * rank, outputs].

        ``up`` has a block for each part on its diagonal, so that no part sees another's inner numbers.
        """
        return [self._fused(layer, adapter.factors) for layer in self.layers]

    def _fused(self, layer: Linear, factors: Mapping[str, Factors]) -> Pair | None:
        if not any(name in factors for name, _ in layer.parts):
            return None
        inner = layer.inner(self.rank)
        down = np.zeros((layer.inputs, inner), np.float32)
        up = np.zeros((inner, layer.outputs), np.float32)
        column = 0
        for number, (name, outputs) in enumerate(layer.parts):
            if name in factors:
                rank, begin = len(factors[name].down), number * self.rank
                down[:, begin : begin + rank] = factors[name].down.T
                up[begin : begin + rank, column : column + outputs] = factors[name].up.T
            column += outputs
        return down, up
