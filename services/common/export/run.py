"""The steps of an export: write every graph, compare each with eager, publish the folder whole."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import ServiceError
from services.common.export.graph import GraphSpec, Tensors
from services.common.export.manifest import EXPORT_MANIFEST, ExportedGraph, ExportManifest, Target
from services.common.export.parity import compare
from services.common.export.signature import describe_inputs, describe_outputs
from services.common.export.triton import config_text
from services.common.export.writers import write_onnx, write_torchscript
from services.common.runtimes import open_runtime
from services.common.store.manifest import describe_files

if TYPE_CHECKING:
    import torch

Report = Callable[[int, int, str], None]
"""Takes (done, total, message); an exception it raises ends the export."""

_PACKAGES = {
    Target.ONNX: ("torch", "onnx", "onnxscript", "onnxruntime"),
    Target.TRITON: ("torch", "onnx", "onnxscript", "onnxruntime"),
    Target.TORCHSCRIPT: ("torch",),
}


def export_module(
    module: torch.nn.Module,
    example_inputs: Tensors,
    output_names: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    folder: Path,
    target: Target,
) -> ExportManifest:
    """Export one module as the graph "model"; see ``GraphSpec`` and ``export_graphs``."""
    spec = GraphSpec(module, example_inputs, output_names, dynamic)
    return export_graphs({"model": spec}, folder, target)


def export_graphs(
    graphs: Mapping[str, GraphSpec],
    folder: Path,
    target: Target,
    *,
    name: str = "model",
    source: str = "",
    report: Report | None = None,
) -> ExportManifest:
    """Write ``graphs`` and ``export.json`` to ``folder``, whole or not at all; an export there is replaced.

    Files are called ``name``, and ``name-graph`` where there are several graphs; ``source`` is the
    digest of the version exported.
    Raises FAILED_PRECONDITION with reason EXPORT_FAILED when a module cannot be traced and
    PARITY_FAILED when the written file, opened by its runtime, does not do what eager does.
    """
    with _staged(folder) as staging:
        return write_export(graphs, staging, target, name=name, source=source, report=report)


def write_export(
    graphs: Mapping[str, GraphSpec],
    folder: Path,
    target: Target,
    *,
    name: str = "model",
    source: str = "",
    report: Report | None = None,
) -> ExportManifest:
    """``export_graphs`` into an empty folder that the caller publishes, or removes after an error."""
    tell = report or (lambda done, total, message: None)
    steps = 2 * len(graphs)
    written: dict[str, ExportedGraph] = {}
    opset = 0
    for done, (graph, spec) in enumerate(graphs.items()):
        tell(done, steps, f"writing {graph}")
        with _naming(graph):
            opset, written[graph] = _write(spec, folder, target, _label(name, graph, graphs))
    # The TorchScript runtime opens only what a manifest vouches for, so it is written before the check.
    manifest = _manifest(folder, target, source, written, opset)
    checked = {}
    for done, (graph, spec) in enumerate(graphs.items(), start=len(graphs)):
        tell(done, steps, f"comparing {graph} with eager")
        with _naming(graph):
            checked[graph] = _checked(spec, folder, written[graph])
    tell(steps, steps, "done")
    return _save(folder, manifest.model_copy(update={"graphs": checked}))


def _label(name: str, graph: str, graphs: Mapping[str, GraphSpec]) -> str:
    return name if len(graphs) == 1 else f"{name}-{graph}"


def _write(spec: GraphSpec, folder: Path, target: Target, label: str) -> tuple[int, ExportedGraph]:
    inputs, outputs = describe_inputs(spec), describe_outputs(spec)
    if target is Target.TORCHSCRIPT:
        file = f"{label}.pt"
        opset = write_torchscript(spec, folder / file)
    elif target is Target.ONNX:
        file = f"{label}.onnx"
        opset = write_onnx(spec, folder / file)
    else:
        file = f"{label}/1/model.onnx"
        (folder / file).parent.mkdir(parents=True)
        (folder / label / "config.pbtxt").write_text(config_text(label, inputs, outputs, spec.batch))
        opset = write_onnx(spec, folder / file)
    return opset, ExportedGraph(file=file, inputs=inputs, outputs=outputs)


def _manifest(
    folder: Path, target: Target, source: str, graphs: dict[str, ExportedGraph], opset: int
) -> ExportManifest:
    return _save(
        folder,
        ExportManifest(
            target=target,
            source=source,
            graphs=graphs,
            files=describe_files(folder),
            opset=opset,
            runtime_versions={name: import_module(name).__version__ for name in _PACKAGES[target]},
        ),
    )


def _save(folder: Path, manifest: ExportManifest) -> ExportManifest:
    (folder / EXPORT_MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _checked(spec: GraphSpec, folder: Path, written: ExportedGraph) -> ExportedGraph:
    import torch

    runtime = open_runtime(folder / written.file, threads=torch.get_num_threads(), providers=("cpu",))
    try:
        figures = compare(spec, runtime)
    finally:
        runtime.close()
    return written.model_copy(
        update={
            "parity": figures.outputs,
            "sizes_tried": figures.sizes_tried,
            "batched_vs_alone": figures.batched_vs_alone,
        }
    )


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` that takes its place at the end, or vanishes after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging, old = (
        folder.with_name(f".{folder.name}-{word}-{uuid.uuid4().hex[:12]}") for word in ("new", "old")
    )
    staging.mkdir()
    try:
        yield staging
        if folder.exists():
            folder.rename(old)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _naming(graph: str) -> Iterator[None]:
    """Errors say which graph they are about."""
    try:
        yield
    except ServiceError as error:
        raise dataclasses.replace(error, message=f"graph {graph!r}: {error.message}") from error
