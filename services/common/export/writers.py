"""Writes one graph as ONNX or TorchScript. The only place that traces a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.errors import Code, Reason, ServiceError
from services.common.export.graph import GraphSpec, evaluating
from services.common.export.tracing import quiet

if TYPE_CHECKING:
    import torch

# A protobuf file holds at most 2 GB; larger weights go to a file beside it.
_ONE_FILE_BYTES = 1_800_000_000


def write_onnx(spec: GraphSpec, path: Path) -> int:
    """Write ``path`` (and ``path.data`` beside it for very large weights); returns the operator set."""
    import torch

    # torch wants an entry for every input, empty where nothing is free.
    shapes = {name: dict(spec.dynamic.get(name, {})) for name in spec.example_inputs}
    program: Any = _attempt(
        "ONNX",
        lambda: torch.onnx.export(
            spec.module,
            (),
            kwargs=dict(spec.example_inputs),
            input_names=list(spec.example_inputs),
            output_names=list(spec.output_names),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        ),
        spec.module,
    )
    forget_origin(program.model)
    program.save(path, external_data=_weight_bytes(spec.module) > _ONE_FILE_BYTES)
    return int(program.model.opset_imports[""])


def write_torchscript(spec: GraphSpec, path: Path) -> int:
    """Write a traced module; returns 0, there is no operator set."""
    import torch

    trace: Any = torch.jit.trace  # untyped
    traced: Any = _attempt(
        "TorchScript",
        lambda: trace(spec.module, example_kwarg_inputs=dict(spec.example_inputs)),
        spec.module,
    )
    follow_devices(traced)
    with quiet():
        traced.save(str(path))
    return 0


def follow_devices(traced: Any) -> None:
    """Have what a traced module makes itself (positions, masks) lie where its inputs lie.

    A trace notes the device that it saw, and such a file would run there alone. Raises EXPORT_FAILED for a
    part that has a device and no tensor to take it from.
    """
    import torch

    for part in traced.modules():
        if not part._c._has_method("forward"):  # nobody called it while it was traced
            continue
        graph = part.graph
        noted = [each.output() for each in graph.findAllNodes("prim::Constant")]
        noted = [each for each in noted if each.type().kind() == "DeviceObjType"]
        if not noted:
            continue
        given = [each for each in graph.inputs() if each.type().kind() == "TensorType"]
        if not given:
            raise ServiceError(
                Code.FAILED_PRECONDITION,
                Reason.EXPORT_FAILED,
                f"{part.original_name} cannot be exported as TorchScript: it takes no tensor, and makes some",
            )
        asks = graph.create("prim::device", [given[0]], 1)
        asks.output().setType(torch._C.DeviceObjType.get())
        graph.prependNode(asks)
        for each in noted:
            each.replaceAllUsesWith(asks.output())


def _attempt(what: str, export: Callable[[], Any], module: torch.nn.Module) -> Any:
    import torch

    with evaluating(module), torch.no_grad(), quiet():
        try:
            return export()
        except Exception as error:  # torch's exporters raise whatever happened inside
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ServiceError(
                Code.FAILED_PRECONDITION,
                Reason.EXPORT_FAILED,
                f"{type(module).__name__} cannot be exported as {what}: {reason}",
            ) from error


def forget_origin(model: Any) -> None:
    """Drop the stack traces that the exporter notes on every node: paths of this machine."""
    for graph in (model.graph, *model.functions.values()):
        for node in graph:
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()


def _weight_bytes(module: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
