"""Describes what a graph takes and returns, found by running it in eager mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from services.common.export.graph import GraphSpec, Tensors, evaluating
from services.common.runtimes.tensors import GraphTensor


def run_eager(spec: GraphSpec, inputs: Tensors) -> dict[str, np.ndarray]:
    """The module's own outputs, in evaluation mode. ValueError when there are not as many as named."""
    import torch

    with evaluating(spec.module), torch.no_grad():
        results = spec.module(**inputs)
    values = results if isinstance(results, tuple | list) else (results,)
    if len(values) != len(spec.output_names):
        raise ValueError(f"the module returns {len(values)} outputs, {len(spec.output_names)} are named")
    return {name: value.numpy() for name, value in zip(spec.output_names, values, strict=True)}


def describe_inputs(spec: GraphSpec) -> tuple[GraphTensor, ...]:
    """The inputs as the example has them, free axes by name."""
    return tuple(
        GraphTensor(
            name=name,
            dtype=str(tensor.numpy().dtype),
            shape=tuple(spec.dynamic.get(name, {}).get(axis, size) for axis, size in enumerate(tensor.shape)),
        )
        for name, tensor in spec.example_inputs.items()
    )


def describe_outputs(spec: GraphSpec) -> tuple[GraphTensor, ...]:
    """The outputs; an axis that follows a free axis bears its name, one that merely depends on it is -1."""
    example = spec.example_sizes()
    outputs = run_eager(spec, spec.inputs_of(example))
    shapes: dict[str, list[int | str]] = {name: list(value.shape) for name, value in outputs.items()}
    for sizes in spec.other_sizes():
        changed = {symbol: size for symbol, size in sizes.items() if size != example[symbol]}
        for name, value in run_eager(spec, spec.inputs_of(sizes)).items():
            _note_changes(shapes[name], outputs[name].shape, value.shape, changed)
    return tuple(
        GraphTensor(name=name, dtype=str(value.dtype), shape=tuple(shapes[name]))
        for name, value in outputs.items()
    )


def _note_changes(
    shape: list[int | str], before: tuple[int, ...], now: tuple[int, ...], changed: Mapping[str, int]
) -> None:
    for axis, (old, new) in enumerate(zip(before, now, strict=True)):
        if old == new or isinstance(shape[axis], str):
            continue
        followed = [symbol for symbol, size in changed.items() if size == new]
        shape[axis] = followed[0] if len(changed) == 1 and followed and shape[axis] == old else -1
