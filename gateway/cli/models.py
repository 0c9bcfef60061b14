"""``pequod models``: what can be run, loaded, exported and named."""

from __future__ import annotations

import enum
import threading
from collections.abc import Iterable
from typing import Annotated

import typer
from google.protobuf import json_format
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli import output
from gateway.cli.connection import connect
from pequod.common.v1 import Progress as Step
from pequod.model.v1 import (
    EXPORT_FORMAT_ONNX,
    EXPORT_FORMAT_TORCHSCRIPT,
    EXPORT_FORMAT_TRITON,
    MODEL_STATE_READY,
    ExportModelRequest,
    ExportModelResponse,
    GetModelRequest,
    ListModelsRequest,
    ListModelsResponse,
    LoadModelRequest,
    Model,
    ModelKind,
    ModelState,
    SetAliasRequest,
    UnloadModelRequest,
    WatchModelRequest,
)
from pequod_client import Client

COLUMNS = ("model", "version", "aliases", "kind", "state", "memory#", "service", "licence")
LOAD_TIMEOUT = 3600.0  # seconds; a pull of a large model takes its time

app = typer.Typer(help="List, load, export and name models.", no_args_is_help=True)

Reference = Annotated[
    str, typer.Argument(help="name, name@alias, name:version, hf:REPO[@REVISION] or file:PATH")
]


class Format(enum.StrEnum):
    """What to export for."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    TRITON = "triton"


_FORMATS = {
    Format.ONNX: EXPORT_FORMAT_ONNX,
    Format.TORCHSCRIPT: EXPORT_FORMAT_TORCHSCRIPT,
    Format.TRITON: EXPORT_FORMAT_TRITON,
}


@app.command("ls")
def list_models(as_json: output.Json = False) -> None:
    """List every model of every service."""
    merged = ListModelsResponse()
    with connect() as client:
        while True:
            page = client.models.ListModels(ListModelsRequest(page_token=merged.next_page_token))
            merged.models.extend(page.models)
            merged.next_page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        output.message_json(merged)
        return
    output.table(COLUMNS, [_row(model) for model in merged.models])


@app.command()
def show(model: Reference, as_json: output.Json = False) -> None:
    """Describe one model: files, figures, where it comes from."""
    with connect() as client:
        reply = client.models.GetModel(GetModelRequest(model=model))
    if as_json:
        output.message_json(reply)
        return
    found = reply.model
    output.table(COLUMNS, [_row(found)])
    facts = [
        ("family", found.family),
        ("layer", found.layer),
        ("trained on", found.training_data),
        ("recipe", found.recipe),
        ("parent", found.parent),
        ("created", found.create_time.ToJsonString() if found.HasField("create_time") else ""),
        ("digest", found.digest),
        ("config", str(json_format.MessageToDict(found.config))),
        *((name, f"{value:g}") for name, value in sorted(found.metrics.items())),
        *((f.path, f"{output.size(f.size_bytes)}  sha256 {f.sha256[:16]}…") for f in found.files),
    ]
    output.table(("", ""), [fact for fact in facts if fact[1]])


@app.command()
def load(model: Reference, as_json: output.Json = False) -> None:
    """Bring a model into memory."""
    with connect(LOAD_TIMEOUT) as client:
        watcher = threading.Thread(target=_watch, args=(client, model), daemon=True)
        if not as_json:
            watcher.start()
        reply = client.models.LoadModel(LoadModelRequest(model=model))
        if not as_json:
            watcher.join(2)
    if as_json:
        output.message_json(reply)
        return
    evicted = f"; evicted {', '.join(reply.evicted)}" if reply.evicted else ""
    output.note(f"{reply.model.name}:{reply.model.version} is ready{evicted}")


@app.command()
def pull(model: Reference, as_json: output.Json = False) -> None:
    """Fetch a model from its hub or remote store, and load it."""
    load(model, as_json)


@app.command()
def unload(model: Reference, as_json: output.Json = False) -> None:
    """Let a model leave memory once its requests have ended."""
    with connect() as client:
        reply = client.models.UnloadModel(UnloadModelRequest(model=model))
    if as_json:
        output.message_json(reply)
        return
    output.note(f"{reply.model.name}:{reply.model.version} is unloaded")


@app.command()
def export(
    model: Reference,
    target: Annotated[Format, typer.Option("--format", help="What to export for.")] = Format.ONNX,
    force: Annotated[bool, typer.Option(help="Export again although one is kept.")] = False,
    as_json: output.Json = False,
) -> None:
    """Export a model for another runtime, checked against eager."""
    request = ExportModelRequest(model=model, format=_FORMATS[target], force=force)
    last = ExportModelResponse()
    with connect(LOAD_TIMEOUT) as client, _progress() as bars:
        task = bars.add_task("export", total=None)
        for last in client.models.ExportModel(request):
            if last.HasField("progress"):
                step = last.progress
                bars.update(
                    task, completed=step.completed, total=step.total or None, description=step.message
                )
    if as_json:
        output.message_json(last)
        return
    _show_export(last)


@app.command()
def alias(
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="For example production.")],
    version: Annotated[str, typer.Argument(help="Version to point at; empty removes the alias.")],
    expect: Annotated[str | None, typer.Option(help="Only if it names this version now.")] = None,
    as_json: output.Json = False,
) -> None:
    """Point ALIAS of NAME at VERSION; requests in flight finish on the old one."""
    request = SetAliasRequest(name=name, alias=alias_name, version=version, expected_version=expect)
    with connect() as client:
        reply = client.models.SetAlias(request)
    if as_json:
        output.message_json(reply)
        return
    before = f" (was {reply.previous_version})" if reply.previous_version else ""
    output.note(f"{name}@{alias_name} -> {reply.model.version or 'removed'}{before}")


def _show_export(result: ExportModelResponse) -> None:
    files = [(f.path, output.size(f.size_bytes), f.sha256) for f in result.files]
    output.table(("file", "size#", "sha256"), files)
    parity = [
        (p.output, f"{p.max_abs_error:.3g}", f"{p.min_cosine:.9f}", f"{p.tolerance:g}") for p in result.parity
    ]
    output.table(("output", "largest difference#", "smallest cosine#", "allowed#"), parity)
    output.note(f"{'kept' if result.reused else 'written'}: {result.location}")


def _watch(client: Client, model: str) -> None:
    """Show the progress of a load until it ends; errors are the load's own to report."""
    from pequod_client import PequodError

    try:
        with _progress() as bars:
            task = bars.add_task(f"loading {model}", total=None)
            for event in client.models.WatchModel(WatchModelRequest(model=model, until=MODEL_STATE_READY)):
                text = f"{_state(event.model)} {model} {event.progress.message}"
                _advance(bars, task, event.progress, text)
    except PequodError:
        return


def _advance(bars: Progress, task: TaskID, step: Step, text: str) -> None:
    bars.update(task, completed=step.completed, total=step.total or None, description=text)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=output.error_console(), transient=True)


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.name,
        model.version,
        _join(model.aliases),
        ModelKind.Name(model.kind).removeprefix("MODEL_KIND_").lower(),
        _state(model),
        output.size(model.memory_bytes),
        model.service,
        model.license,
    )


def _state(model: Model) -> str:
    return ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
