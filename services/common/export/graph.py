"""What is exported: a module, examples of its inputs, and the axes whose sizes are free."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class GraphSpec:
    """One graph to export. Its module must be on the CPU and take all randomness as an input."""

    module: torch.nn.Module
    example_inputs: Tensors
    """By the names of ``forward``'s parameters. A free axis must be at least 2 long."""
    output_names: Sequence[str]
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Input -> axis -> name of the free axis; equal names are equal sizes."""
    sizes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Other sizes to compare with eager, for each free axis; default: see ``other_sizes``."""
    batch: str = "batch"
    """Name of the free axis that holds independent rows."""
    tolerance: float = 1e-4
    """Largest difference from eager, times the largest magnitude of the output where that is above 1."""

    def __post_init__(self) -> None:
        taken = inspect.signature(self.module.forward).parameters
        for name in self.example_inputs:
            if name not in taken:
                raise ValueError(f"input {name!r}: forward takes {', '.join(taken)}")
        for name, axes in self.dynamic.items():
            if name not in self.example_inputs:
                raise ValueError(f"dynamic: there is no input {name!r}")
            self._check_axes(name, axes)
        if any(parameter.device.type != "cpu" for parameter in self.module.parameters()):
            raise ValueError("the module must be on the CPU to be exported")

    def _check_axes(self, name: str, axes: Mapping[int, str]) -> None:
        shape = self.example_inputs[name].shape
        for axis, symbol in axes.items():
            if not 0 <= axis < len(shape):
                raise ValueError(f"dynamic: {name!r} has no axis {axis}")
            # torch.export treats sizes 0 and 1 as constants.
            if shape[axis] < 2:
                raise ValueError(f"{name!r}: free axis {axis} ({symbol}) must be at least 2 in the example")

    def example_sizes(self) -> dict[str, int]:
        """The free axes' sizes in the example."""
        return {
            symbol: self.example_inputs[name].shape[axis]
            for name, axes in self.dynamic.items()
            for axis, symbol in axes.items()
        }

    def other_sizes(self) -> Iterator[dict[str, int]]:
        """At least two other sizes of every free axis, one axis at a time, then all at once.

        Unless ``sizes`` says otherwise: 1 and more than twice as many for the batch, one more and twice
        as many for other axes.
        """
        example = self.example_sizes()
        others = {symbol: self._others(symbol, size) for symbol, size in example.items()}
        for symbol, sizes in others.items():
            yield from ({**example, symbol: size} for size in sizes)
        if len(others) > 1:
            yield {symbol: sizes[-1] for symbol, sizes in others.items()}

    def _others(self, symbol: str, size: int) -> Sequence[int]:
        if symbol in self.sizes:
            return self.sizes[symbol]
        return (1, 2 * size + 1) if symbol == self.batch else (size + 1, 2 * size)

    def inputs_of(self, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """The example repeated or cut to ``sizes``: every value stays one that the example has."""
        return {name: self._resized(name, tensor, sizes) for name, tensor in self.example_inputs.items()}

    def _resized(self, name: str, tensor: torch.Tensor, sizes: Mapping[str, int]) -> torch.Tensor:
        import torch

        for axis, symbol in self.dynamic.get(name, {}).items():
            index = torch.arange(sizes[symbol]) % tensor.shape[axis]
            tensor = tensor.index_select(axis, index)
        return tensor

    def rows(self) -> Iterator[dict[str, torch.Tensor]]:
        """Each row of the example batch alone; nothing without a batch axis."""
        count = self.example_sizes().get(self.batch, 0)
        for row in range(count):
            yield {name: self._row(name, tensor, row) for name, tensor in self.example_inputs.items()}

    def _row(self, name: str, tensor: torch.Tensor, row: int) -> torch.Tensor:
        for axis, symbol in self.dynamic.get(name, {}).items():
            if symbol == self.batch:
                tensor = tensor.narrow(axis, row, 1)
        return tensor


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode, and back to how each was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
