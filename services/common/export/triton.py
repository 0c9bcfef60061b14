"""Text of Triton's ``config.pbtxt`` for an ONNX graph (message ModelConfig of model_config.proto)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.common.runtimes.tensors import GraphTensor

MAX_BATCH = 64

_TYPES = {
    "bool": "TYPE_BOOL",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    **{f"int{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
}


def config_text(name: str, inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor], batch: str) -> str:
    """The configuration of model ``name``.

    Where axis 0 of every tensor is the free axis ``batch``, Triton may batch requests: it then
    leaves that axis out of the dims. Otherwise max_batch_size is 0 and the dims are whole.
    """
    batched = all(tensor.shape[:1] == (batch,) for tensor in (*inputs, *outputs))
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {MAX_BATCH if batched else 0}",
        *_section("input", inputs, batched),
        *_section("output", outputs, batched),
    ]
    if batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _section(word: str, tensors: Sequence[GraphTensor], batched: bool) -> list[str]:
    entries = ",\n".join(_tensor(tensor, batched) for tensor in tensors)
    return [f"{word} [", entries, "]"]


def _tensor(tensor: GraphTensor, batched: bool) -> str:
    dims = tensor.sizes[1:] if batched else tensor.sizes
    # Triton has no tensors without dimensions: it reshapes [1] to what the graph takes.
    shape = f"dims: [ {', '.join(map(str, dims))} ]" if dims else "dims: [ 1 ]\n    reshape { shape: [ ] }"
    return (
        f"  {{\n    name: {json.dumps(tensor.name)}\n    data_type: {_TYPES[tensor.dtype]}\n    {shape}\n  }}"
    )
