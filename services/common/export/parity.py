"""Compares a written artefact, opened by its real runtime, with the eager module it was made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.common.errors import Code, Reason, ServiceError
from services.common.export.graph import GraphSpec, Tensors
from services.common.export.manifest import OutputParity
from services.common.export.signature import run_eager
from services.common.runtimes import Runtime

Arrays = Mapping[str, np.ndarray]

# Below this cosine an output points elsewhere, however small its numbers are.
_LEAST_COSINE = 0.9999


@dataclass(frozen=True)
class Comparison:
    """The figures of one graph's check."""

    outputs: tuple[OutputParity, ...]
    sizes_tried: tuple[dict[str, int], ...]
    batched_vs_alone: float | None


@dataclass
class _Worst:
    """The worst figures of one output so far."""

    tolerance: float
    error: float = 0.0
    cosine: float = 1.0
    allowed: float = field(init=False)

    def __post_init__(self) -> None:
        self.allowed = self.tolerance

    def note(self, eager: np.ndarray, exported: np.ndarray) -> None:
        self.allowed = max(self.allowed, self.tolerance * _magnitude(eager))
        self.error = max(self.error, max_abs_error(eager, exported))
        self.cosine = min(self.cosine, min_cosine(eager, exported, self.tolerance))


def compare(spec: GraphSpec, runtime: Runtime) -> Comparison:
    """Run both at the example's sizes and at others.

    Raises FAILED_PRECONDITION, reason PARITY_FAILED, when an output differs by more than the
    tolerance, in shape or type, or when a row alone differs that much from the row in a batch.
    """
    tried = [spec.example_sizes(), *spec.other_sizes()]
    worst = {name: _Worst(spec.tolerance) for name in spec.output_names}
    for sizes in tried:
        inputs = spec.inputs_of(sizes)
        eager, exported = run_eager(spec, inputs), _run(runtime, inputs, sizes)
        for name in spec.output_names:
            _check_same_kind(name, eager[name], exported[name], sizes)
            worst[name].note(eager[name], exported[name])
    for name, figures in worst.items():
        _check_figures(name, figures)
    return Comparison(
        outputs=tuple(
            OutputParity(
                output=name,
                max_abs_error=figures.error,
                min_cosine=figures.cosine,
                tolerance=figures.allowed,
            )
            for name, figures in worst.items()
        ),
        sizes_tried=tuple(tried),
        batched_vs_alone=_batched_vs_alone(spec, runtime, worst),
    )


def max_abs_error(left: np.ndarray, right: np.ndarray) -> float:
    """Largest difference; equal infinities differ by nothing, a NaN on either side by infinity."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    if np.isnan(a).any() or np.isnan(b).any():
        return math.inf
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(a == b, 0.0, np.abs(a - b)), initial=0.0))


def min_cosine(left: np.ndarray, right: np.ndarray, negligible: float) -> float:
    """Smallest cosine between rows; 1 for rows whose norms are both below ``negligible``."""
    a, b = (_rows(values) for values in (left, right))
    norms = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    product = norms[0] * norms[1]
    small = np.maximum(*norms) <= negligible
    cosine = np.where(small, 1.0, np.sum(a * b, axis=1) / np.where(product > 0, product, 1.0))
    return float(np.clip(cosine, -1.0, 1.0).min(initial=1.0))


def _rows(values: np.ndarray) -> np.ndarray:
    """One row for each index of the first axis; infinities, which no cosine can hold, as 0."""
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    return finite.reshape(values.shape[0], -1) if values.ndim else finite.reshape(1, 1)


def _magnitude(values: np.ndarray) -> float:
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values))) if values.size else 0.0


def _run(runtime: Runtime, inputs: Tensors, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    try:
        return runtime.run({name: value.numpy() for name, value in inputs.items()})
    except Exception as error:  # each runtime has its own exceptions; here all mean the same
        raise _failed(f"at {_shown(sizes)} the export does not run: {str(error).strip()}") from error


def _check_same_kind(name: str, eager: np.ndarray, exported: np.ndarray, sizes: Mapping[str, int]) -> None:
    if (eager.shape, eager.dtype) != (exported.shape, exported.dtype):
        raise _failed(
            f"output {name!r} at {_shown(sizes)} is {exported.dtype}{list(exported.shape)}, "
            f"eager gives {eager.dtype}{list(eager.shape)}"
        )


def _check_figures(name: str, worst: _Worst) -> None:
    if not worst.error <= worst.allowed:
        raise _failed(
            f"output {name!r} differs from eager by {worst.error:.3g}, allowed is {worst.allowed:.3g}"
        )
    if worst.cosine < _LEAST_COSINE:
        raise _failed(f"output {name!r} has rows at cosine {worst.cosine:.6f} to eager's")


def _batched_vs_alone(spec: GraphSpec, runtime: Runtime, worst: Mapping[str, _Worst]) -> float | None:
    """Largest difference between a row alone and in the example batch.

    Only a leak between rows fails here: the last bits may depend on the row count in any float32
    matrix product, and an engine that promises equal bits pads its rows.
    """
    rows = list(spec.rows())
    if not rows:
        return None
    together = _run(runtime, spec.example_inputs, spec.example_sizes())
    largest = 0.0
    for number, row in enumerate(rows):
        alone = _run(runtime, row, {**spec.example_sizes(), spec.batch: 1})
        for name, values in alone.items():
            same = together[name][number : number + 1]
            if same.shape != values.shape:  # its first axis is not the batch
                continue
            difference = max_abs_error(same, values)
            if not difference <= worst[name].allowed:
                raise _failed(
                    f"output {name!r}: row {number} alone differs by {difference:.3g} from the batch"
                )
            largest = max(largest, difference)
    return largest


def _shown(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{symbol} {size}" for symbol, size in sizes.items()) or "its fixed sizes"


def _failed(message: str) -> ServiceError:
    return ServiceError(Code.FAILED_PRECONDITION, Reason.PARITY_FAILED, message)
