"""The ONNX graph of one engine step: ids in, logits out, keys and values appended in place.

Attention is ONNX Runtime's GroupQueryAttention over caches [slots, kv_heads, length, head_dim], which takes
every sequence's own length. The graph is made of a family's own module without its weights: they are handed
to the session straight from the checkpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from onnxscript.optimizer._constant_folding import FoldConstantsPass
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.onnx import ops

from services.common.export.tracing import quiet
from services.common.export.writers import forget_origin
from services.sampler.transformer.model.decoder import Decoder, on_meta, transform
from services.sampler.transformer.model.shape import Shape
from services.sampler.transformer.onnx.graphs import int8

WEIGHTS = "weights"
"""Where the graph says that its weights are: a file that there never is."""
_OPSET = 21
_ATTENTION = "com.microsoft::GroupQueryAttention"
_RMS_NORM = "SimplifiedLayerNormalization"


class Step(nn.Module):
    """``forward`` is the graph."""

    cos: Tensor | None
    sin: Tensor | None

    def __init__(self, decoder: Decoder, length: int) -> None:
        """``length``: the positions that a slot of the cache has."""
        super().__init__()
        self.decoder = decoder
        keep_rotation(self, decoder, length)

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        last: Tensor,
        longest: Tensor,
        rows: Tensor,
        keys: list[Tensor],
        values: list[Tensor],
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Logits [rows, vocab_size] of the chosen rows, and each layer's caches with the new rows in them.

        ids, positions [slots, tokens]; last [slots]: position of each slot's last token; longest [1]: the
        largest of ``last`` plus one; rows: which of the slots * tokens rows to unembed.
        """
        slots, tokens = ids.shape
        shape = self.decoder.config
        new_keys, new_values = [], []

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (tensor.reshape(slots, tokens, -1) for tensor in (q, k, v))
            past = (keys[layer], values[layer])
            out, key, value = ops.symbolic_multi_out(
                _ATTENTION,
                (q, k, v, *past, last, longest, self.cos, self.sin),
                {
                    "num_heads": shape.num_attention_heads,
                    "kv_num_heads": shape.num_key_value_heads,
                    "do_rotary": int(self.cos is not None),
                },
                dtypes=(q.dtype,) * 3,
                shapes=(q.shape, past[0].shape, past[1].shape),
                version=1,
            )
            new_keys.append(key)
            new_values.append(value)
            return out.flatten(0, 1)

        x = transform(self.decoder, ids.flatten(), positions.flatten(), attend)
        return self.unembed(x, rows), new_keys, new_values

    def unembed(self, x: Tensor, rows: Tensor) -> Tensor:
        """Logits of the chosen rows of x."""
        return self.decoder.unembed(x.index_select(0, rows))

    def adapt(self) -> None:
        """Called when the layers have the form that is exported."""


def keep_rotation(module: nn.Module, decoder: Decoder, length: int) -> None:
    """Give a module the buffers ``cos`` and ``sin`` [length, head_dim / 2]; None where nothing is turned."""
    rotation = decoder.rotation(torch.arange(length))
    cos, sin = rotation if rotation is not None else (None, None)
    module.register_buffer("cos", cos)
    module.register_buffer("sin", sin)


class _RmsNorm(nn.Module):
    """RMS norm as the one node that ONNX Runtime has for it."""

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, float(norm.eps or 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised over the last axis."""
        attributes: dict[str, Any] = {"axis": -1, "epsilon": self.eps, "stash_type": 1}
        return ops.symbolic(_RMS_NORM, (x, self.weight), attributes, dtype=x.dtype, shape=x.shape)


def write(build: Callable[[], Decoder], length: int, file: Path, precision: str) -> None:
    """Write the graph of the decoder that ``build`` makes, for slots of ``length`` positions."""
    shape = on_meta(build).config
    export(lambda: Step(build(), length), lambda: example(shape, length), free_axes(shape), file, precision)


def export(
    build: Callable[[], nn.Module],
    inputs: Callable[[], dict[str, Any]],
    free: dict[str, Any],
    file: Path,
    precision: str,
    outputs: Sequence[str] | None = None,
    functions: Sequence[ir.Function] = (),
) -> None:
    """Write the graph of a module that is built, like its example inputs, without memory for tensors.

    ``functions`` define its own nodes, beside those of layers in 8 bits.

    Its initialisers are empty: they have the names of the module's parameters, and those of a layer in 8 bits
    the names that ``int8`` gives.
    """
    with _failures(), FakeTensorMode(allow_non_fake_inputs=True), quiet():
        module = build().eval()
        _replace_parts(module, precision)
        if isinstance(module, Step):
            module.adapt()
        program = torch.onnx.export(
            module,
            kwargs=inputs(),
            dynamic_shapes=free,
            output_names=outputs,
            dynamo=True,
            optimize=False,
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    _empty(program.model)
    _tidy(program.model)
    forget_origin(program.model)
    for function in (*functions, *([int8.function()] if precision == "int8" else [])):
        program.model.functions[function.identifier()] = function
        program.model.opset_imports[function.domain] = 1
    ir.save(program.model, file)


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Sizes that do not fit together, which show when a module is traced, as ValueError."""
    try:
        yield
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"config.json describes a model that cannot be run: {first}") from error


def _replace_parts(root: nn.Module, precision: str) -> None:
    """Norms by one node each, linear layers by their 8-bit form."""
    for name, module in list(root.named_modules()):
        if isinstance(module, nn.RMSNorm):
            root.set_submodule(name, _RmsNorm(module))
        elif isinstance(module, nn.Linear) and precision == "int8" and int8.fits(module):
            root.set_submodule(name, int8.Int8Linear(module))


def example(shape: Shape, length: int) -> dict[str, Any]:
    """Inputs of a step."""
    slots, tokens = 2, 3
    cache = (slots, shape.num_key_value_heads, length, shape.head_dim)
    return {
        "ids": torch.zeros(slots, tokens, dtype=torch.int64),
        "positions": torch.zeros(slots, tokens, dtype=torch.int64),
        "last": torch.zeros(slots, dtype=torch.int32),
        "longest": torch.zeros(1, dtype=torch.int32),
        "rows": torch.zeros(4, dtype=torch.int64),
        "keys": [torch.zeros(cache) for _ in range(shape.num_hidden_layers)],
        "values": [torch.zeros(cache) for _ in range(shape.num_hidden_layers)],
    }


def free_axes(shape: Shape) -> dict[str, Any]:
    """Which axes of a step's inputs are free."""
    slot, token, row = (torch.export.Dim(name) for name in ("slots", "tokens", "rows"))
    caches = [{0: slot} for _ in range(shape.num_hidden_layers)]
    return {
        "ids": {0: slot, 1: token},
        "positions": {0: slot, 1: token},
        "last": {0: slot},
        "longest": None,
        "rows": {0: row},
        "keys": caches,
        "values": caches,
    }


def _tidy(model: ir.Model) -> None:
    """Work out what is constant, once what is the same, and drop what nobody uses."""
    FoldConstantsPass(shape_inference=False, input_size_limit=1024, output_size_limit=1024)(model)
    for each in (
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
    ):
        each(model)


def _empty(model: ir.Model) -> None:
    """Leave of the weights their names, types and shapes."""
    for name, value in model.graph.initializers.items():
        tensor: Any = value.const_value
        if isinstance(getattr(tensor, "raw", None), Tensor):
            value.const_value = ir.ExternalTensor(
                WEIGHTS, None, None, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
            )
