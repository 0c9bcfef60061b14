"""8-bit matrix products with one activation scale a row, so that a row's result knows no neighbours.

Integer sums are exact, so a row's product is bit for bit the same in any batch. Weights keep 7 bits and a
scale an output: pairs of products then fit the 16-bit sums of CPUs without VNNI, so every CPU gives the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxscript
import torch
from onnxscript.values import Opset
from torch import Tensor, nn
from torch.onnx import ops

DOMAIN = "pequod"
"""Of the nodes that graphs define themselves."""
_NODE = "RowwiseInt8Linear"
_RUNTIME = Opset("com.microsoft", 1)
op: Any = onnxscript.opset21
"""The opset of graphs; untyped, for its types are for graphs and not for those who write them."""
SMALLEST = 64
"""Products with fewer inputs or outputs stay as they are: 8 bits would cost more than they save."""
_LEVELS = 64.0
_MIDDLE = 128
"""The integer that stands for 0 in an unsigned byte."""
_TINY = 1e-20


class Int8Linear(nn.Module):
    """The ONNX nodes of a linear layer in 8 bits; only to be exported.

    ``weight`` [in, out] and ``scale`` [out] are placeholders for what ``quantised`` gives.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(linear.in_features, linear.out_features, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(linear.out_features))
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """y [rows, out] of x [rows, in]."""
        # One node, which ``function`` defines: to trace its parts in every layer takes far longer.
        shape = (x.shape[0], self.scale.shape[0])
        inputs = (x, self.weight, self.scale)
        y = ops.symbolic(f"{DOMAIN}::{_NODE}", inputs, dtype=torch.float32, shape=shape, version=1)
        return y if self.bias is None else y + self.bias


def function() -> ir.Function:
    """What the node of ``Int8Linear`` does, in nodes of ONNX and ONNX Runtime."""

    @onnxscript.script(Opset(DOMAIN, 1), default_opset=op)
    def RowwiseInt8Linear(x, weight, scale):  # type: ignore[no-untyped-def]
        one = op.Constant(value_float=1.0)
        middle = op.Cast(op.Constant(value_int=_MIDDLE), to=onnx.TensorProto.UINT8)
        largest = op.ReduceMax(op.Abs(x), [-1], keepdims=1)
        scales = largest * op.Constant(value_float=1 / (255 - _MIDDLE)) + op.Constant(value_float=_TINY)
        integers = op.QuantizeLinear(x / scales, one, middle)
        return _RUNTIME.MatMulIntegerToFloat(integers, weight, one, scale, middle) * scales

    return ir.serde.deserialize_function(RowwiseInt8Linear.to_function_proto())


def fits(linear: nn.Linear) -> bool:
    """Whether a layer is worth 8 bits."""
    return min(linear.in_features, linear.out_features) >= SMALLEST


def quantised(weight: Tensor) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Integers [in, out] and scales [out] of a weight [out, in]."""
    scales = weight.abs().amax(dim=1).float().clamp_min(1e-30) / _LEVELS
    integers = torch.round(weight.float() / scales.unsqueeze(1)).to(torch.int8)
    return integers.T.contiguous().numpy(), scales.numpy()
