"""The step's graph with adapters: every linear layer adds what its row's adapter has for it.

All adapters stand side by side in one pair of tensors a layer, and a row's choice is a mask over them: exact
zeros for the others', so a row's sum is the same whoever else is there. The deltas stay in 32 bits beside
weights in 8.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxscript
import torch
from onnxscript.values import Opset
from torch import Tensor, nn
from torch.onnx import ops

from services.sampler.transformer.lora.linears import Linears, widths
from services.sampler.transformer.model.decoder import Decoder, on_meta
from services.sampler.transformer.model.shape import Shape
from services.sampler.transformer.onnx.graphs.int8 import DOMAIN, Int8Linear, op
from services.sampler.transformer.onnx.graphs.step import Step, example, export, free_axes

_PLACES, _PADDING, _FILLED = 3, 5, 11
_DELTA = "Delta"


class AdaptedStep(Step):
    """``forward`` is the graph."""

    def __init__(self, decoder: Decoder, length: int) -> None:
        super().__init__(decoder, length)
        self._deltas = _Deltas()
        self._widths = widths(each.in_features for each in linear_layers(decoder).values())

    def forward(  # type: ignore[override]  # noqa: PLR0913, PLR0917 - they are the graph's inputs
        self,
        ids: Tensor,
        positions: Tensor,
        last: Tensor,
        longest: Tensor,
        rows: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
        chosen: Tensor,
        chosen_rows: Tensor,
        zeros: list[Tensor],
        downs: list[Tensor],
        ups: list[Tensor],
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """As ``Step``, with adapters in ``places`` and of each linear layer their factors.

        zeros, of each of ``widths``: [padding, width], where padding is what slots * tokens, and ``rows``,
        lacks to a multiple that products in floating point need; chosen [places, slots * tokens + padding,
        1]: 1 where a row has that place's adapter, else 0; chosen_rows [places, rows + padding, 1]: the same
        of the rows to unembed; downs [places, inputs, inner]; ups [places * inner, outputs]. A layer that no
        adapter changes may have no inner numbers.
        """
        deltas = self._deltas
        deltas.downs, deltas.ups, deltas.zeros = downs, ups, dict(zip(self._widths, zeros, strict=True))
        deltas.chosen, deltas.chosen_rows = chosen, chosen_rows
        return super().forward(ids, positions, last, longest, rows, keys, values)

    def unembed(self, x: Tensor, rows: Tensor) -> Tensor:
        """Logits of the chosen rows, each with its own adapter."""
        self._deltas.chosen = self._deltas.chosen_rows
        return super().unembed(x, rows)

    def adapt(self) -> None:
        """Make every linear layer add its delta; to be called when layers have their final form."""
        for number, layer in enumerate(linear_layers(self.decoder).values()):
            layer.register_forward_hook(self._deltas.hook(number))


class _Deltas:
    """What the layers' hooks read; set by each ``forward``."""

    downs: list[Tensor]
    ups: list[Tensor]
    zeros: dict[int, Tensor]
    """By width."""
    chosen: Tensor
    chosen_rows: Tensor

    def hook(self, number: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        """The hook of the layer of that number."""

        def add(layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
            # One node, defined below: to trace its parts for every layer would take minutes.
            x, down, up = inputs[0], self.downs[number], self.ups[number]
            parts = (x, self.zeros[x.shape[1]], self.chosen, down, up)
            return y + ops.symbolic(f"{DOMAIN}::{_DELTA}", parts, dtype=y.dtype, shape=y.shape, version=1)

        return add


def linear_layers(decoder: Any) -> dict[str, Any]:
    """The layers that adapters may change, by name, in the order of their factors."""
    return {
        name: module for name, module in decoder.named_modules() if isinstance(module, nn.Linear | Int8Linear)
    }


def write(build: Callable[[], Decoder], linears: Linears, length: int, file: Path, precision: str) -> None:
    """Write the graph of the decoder that ``build`` makes; it takes the weights of the step's graph."""
    shape = on_meta(build).config
    layers, rank = linears.layers, linears.rank
    wide = widths(each.inputs for each in layers)

    def inputs() -> dict[str, Any]:
        return example(shape, length) | {
            "chosen": torch.zeros(_PLACES, _FILLED, 1),
            "chosen_rows": torch.zeros(_PLACES, _FILLED + 1, 1),
            "zeros": [torch.zeros(_PADDING, width) for width in wide],
            "downs": [torch.zeros(_PLACES, each.inputs, each.inner(rank)) for each in layers],
            "ups": [torch.zeros(_PLACES * each.inner(rank), each.outputs) for each in layers],
        }

    free = _free(shape, len(layers), len(wide))
    export(lambda: AdaptedStep(build(), length), inputs, free, file, precision, functions=(_delta(),))


def _free(shape: Shape, layers: int, widths: int) -> dict[str, Any]:
    """Which axes are free."""
    auto = torch.export.Dim.AUTO
    return free_axes(shape) | {
        "chosen": {0: auto, 1: auto},
        "chosen_rows": {0: auto, 1: auto},
        "zeros": [{0: auto}] * widths,
        "downs": [{0: auto, 2: auto}] * layers,
        "ups": [{0: auto}] * layers,
    }


def _delta() -> ir.Function:
    """What the node does: [rows, outputs] of x [rows, inputs]; its products know no other rows or places."""

    @onnxscript.script(Opset(DOMAIN, 1), default_opset=op)
    def Delta(x, zeros, chosen, down, up):  # type: ignore[no-untyped-def]
        inner = op.MatMul(op.Unsqueeze(op.Concat(x, zeros, axis=0), [0]), down) * chosen
        by_row = op.Transpose(inner, perm=[1, 0, 2])
        shape = op.Concat(op.Shape(by_row, end=1), op.Shape(up, end=1), axis=0)
        y = op.MatMul(op.Reshape(by_row, shape, allowzero=1), up)
        return op.Slice(y, [0], op.Shape(x, end=1), [0])

    return ir.serde.deserialize_function(Delta.to_function_proto())
