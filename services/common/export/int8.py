"""Rewrites an ONNX graph to 8-bit matrix products with one activation scale a row.

The usual dynamic quantisation takes one scale for a whole batch, so a row's result depends on its neighbours
and on padding. With a scale a row, integer sums are exact and a row's product is bit for bit the same in
any batch. Weights keep 7 bits and a scale a column: a pair of products then fits the 16-bit sums of CPUs
without VNNI, so every CPU gives the same integers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_CONTRIB = "com.microsoft"
_SMALLEST = 64
"""Products with fewer rows or columns of weights stay as they are: 8 bits would cost more than they save."""
_WEIGHT_LEVELS = 64.0
_MIDDLE = 128
"""The integer that stands for 0, so that activations use all of an unsigned byte."""
_GELU_LOWEST = 0.17
_GELU_MIDDLE = 24
"""GELU gives nothing below -0.17, so most of the byte can be for what is above 0."""


def quantise(source: Path, target: Path) -> int:
    """Write ``target``, a graph like ``source`` with its matrix products by constants in 8 bits.

    Returns the number of products rewritten. The graph runs on ONNX Runtime's CPU provider.
    """
    model = onnx.load(source)
    rewriter = _Rewriter(model.graph)
    count = rewriter.rewrite()
    if not any(each.domain == _CONTRIB for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))
    onnx.save(model, target)
    return count


class _Rewriter:
    """One pass over the nodes in their order."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._weights = {each.name: each for each in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._nodes: list[Any] = []
        self._quantised: dict[str, tuple[str, str, str]] = {}
        self._constants: set[str] = set()
        self._count = 0

    def rewrite(self) -> int:
        for node in self._graph.node:
            weight = self._weight_of(node)
            if weight is None:
                self._nodes.append(node)
            else:
                self._product(node, weight)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [each for each in self._graph.initializer if each.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        return self._count

    def _weight_of(self, node: Any) -> np.ndarray | None:
        """The constant, [in, out], that a node multiplies by; None when the node is no such product."""
        if node.op_type != "MatMul" or node.input[1] not in self._weights:
            return None
        stored = self._weights[node.input[1]]
        if stored.data_type != TensorProto.FLOAT or len(stored.dims) != 2 or min(stored.dims) < _SMALLEST:
            return None
        return numpy_helper.to_array(stored)

    def _product(self, node: Any, weight: np.ndarray) -> None:
        name = f"int8_{self._count}"
        self._count += 1
        rows, scales, middle = self._quantise(node.input[0], weight.shape[0])
        columns = np.maximum(np.abs(weight).max(axis=0), 1e-30) / _WEIGHT_LEVELS
        integers = np.round(weight / columns).astype(np.int8)
        product = self._add(
            "MatMulIntegerToFloat",
            [
                rows,
                self._constant(f"{name}_weight", integers),
                self._constant("int8_one", np.float32(1)),
                self._constant(f"{name}_scale", columns.astype(np.float32)),
                middle,
            ],
            f"{name}_product",
            domain=_CONTRIB,
        )
        scaled = self._add("Mul", [product, scales], f"{name}_scaled")
        out = self._constant(f"int8_out_{weight.shape[1]}", np.array([weight.shape[1]], np.int64))
        leading = self._leading(node.input[0])
        shape = self._add("Concat", [leading, out], f"{name}_shape", axis=0)
        self._nodes.append(
            helper.make_node("Reshape", [scaled, shape], list(node.output), name=f"{name}_reshape")
        )

    def _quantise(self, tensor: str, width: int) -> tuple[str, str, str]:
        """(integers [rows, width], their scales [rows, 1], the integer of 0); made once for each tensor."""
        if tensor in self._quantised:
            return self._quantised[tensor]
        name = f"int8_of_{tensor}"
        flat = self._constant(f"int8_rows_of_{width}", np.array([-1, width], np.int64))
        rows = self._add("Reshape", [tensor, flat], f"{name}_rows")
        maker = self._makers.get(tensor)
        if maker is not None and maker.op_type == "Gelu":
            scales, middle = self._gelu_scales(rows, name), _GELU_MIDDLE
        else:
            scales, middle = self._symmetric_scales(rows, name), _MIDDLE
        zero = self._constant(f"int8_middle_{middle}", np.uint8(middle))
        row_scales = self._add("Squeeze", [scales, self._axis()], f"{name}_row_scales")
        zeros = self._add(
            "Expand", [zero, self._add("Shape", [row_scales], f"{name}_row_count")], f"{name}_zeros"
        )
        integers = self._add("QuantizeLinear", [rows, row_scales, zeros], f"{name}_integers", axis=0)
        self._quantised[tensor] = integers, scales, zero
        return self._quantised[tensor]

    def _symmetric_scales(self, rows: str, name: str) -> str:
        """The largest magnitude of each row over 127."""
        highest = self._add("ReduceMax", [rows, self._axis()], f"{name}_highest", keepdims=1)
        lowest = self._add("ReduceMin", [rows, self._axis()], f"{name}_lowest", keepdims=1)
        largest = self._add(
            "Max", [highest, self._add("Neg", [lowest], f"{name}_minus_lowest")], f"{name}_largest"
        )
        step = self._constant("int8_step", np.float32(1 / (255 - _MIDDLE)))
        tiny = self._constant("int8_tiny", np.float32(1e-12))
        return self._add("Max", [self._add("Mul", [largest, step], f"{name}_steps"), tiny], f"{name}_scales")

    def _gelu_scales(self, rows: str, name: str) -> str:
        """The largest value of each row over what is above the middle; at least what GELU's lowest needs."""
        highest = self._add("ReduceMax", [rows, self._axis()], f"{name}_highest", keepdims=1)
        step = self._constant("int8_gelu_step", np.float32(1 / (255 - _GELU_MIDDLE)))
        least = self._constant("int8_gelu_least", np.float32(_GELU_LOWEST / _GELU_MIDDLE))
        return self._add("Max", [self._add("Mul", [highest, step], f"{name}_steps"), least], f"{name}_scales")

    def _leading(self, tensor: str) -> str:
        """The sizes of all axes of ``tensor`` but the last, made once for each tensor."""
        name = f"int8_leading_{tensor}"
        if name not in self._makers:
            self._makers[name] = self._add("Shape", [tensor], name, end=-1)
        return name

    def _axis(self) -> str:
        return self._constant("int8_last_axis", np.array([1], np.int64))

    def _constant(self, name: str, value: Any) -> str:
        if name not in self._constants:
            self._constants.add(name)
            self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output
