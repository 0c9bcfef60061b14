"""``pequod datasets``: upload, list, describe and delete data for training."""

from __future__ import annotations

import enum
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from gateway.cli import output
from gateway.cli.connection import connect
from gateway.cli.uploading import TIMEOUT, gather, send, start_of
from pequod.finetune.v1 import (
    BAD_FILE_POLICY_REFUSE,
    BAD_FILE_POLICY_SKIP,
    DATASET_KIND_CHAT,
    DATASET_KIND_IMAGES,
    DATASET_KIND_TEXT,
    DATASET_KIND_UNSPECIFIED,
    DATASET_STATE_FAILED,
    DATASET_STATE_READY,
    BadFilePolicy,
    Dataset,
    DatasetKind,
    DatasetReport,
    DatasetState,
    DeleteDatasetRequest,
    FileProblem,
    GetDatasetRequest,
    GetDatasetResponse,
    ImportDatasetRequest,
    ListDatasetsRequest,
    ListDatasetsResponse,
)
from pequod_client import Client

COLUMNS = ("id!", "name", "kind", "state", "examples#", "size#", "created")
_LOOK = 0.3
_SHOWN_ISSUES = 20

app = typer.Typer(help="Upload, list, describe and delete data sets.", no_args_is_help=True)

DatasetId = Annotated[str, typer.Argument(metavar="ID", help="ds-… as `pequod datasets ls` shows it.")]


class KindChoice(enum.StrEnum):
    """What files hold."""

    IMAGES = "images"
    TEXT = "text"
    CHAT = "chat"


_KINDS = {
    None: DATASET_KIND_UNSPECIFIED,
    KindChoice.IMAGES: DATASET_KIND_IMAGES,
    KindChoice.TEXT: DATASET_KIND_TEXT,
    KindChoice.CHAT: DATASET_KIND_CHAT,
}


@dataclass(frozen=True)
class Wanted:
    """What is said of a data set that is sent."""

    name: str = ""
    kind: DatasetKind.ValueType = DATASET_KIND_UNSPECIFIED
    bad_files: BadFilePolicy.ValueType = BAD_FILE_POLICY_SKIP


@app.command()
def upload(
    path: Annotated[
        str,
        typer.Argument(help="A file, a folder, a .zip; or a URI to import: file://, s3://, gs://, https://"),
    ],
    name: Annotated[str, typer.Option(help="Name for people. Default: the path's last part.")] = "",
    kind: Annotated[
        KindChoice | None, typer.Option(help="What the files hold. Default: found from them.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Refuse everything when one file cannot be used.")] = False,
    as_json: output.Json = False,
) -> None:
    """Send files, wait for their check, and show what it found. Run again, it goes on where it broke off."""
    bad_files = BAD_FILE_POLICY_REFUSE if strict else BAD_FILE_POLICY_SKIP
    wanted = Wanted(name, _KINDS[kind], bad_files)
    with connect() as client:
        reply = bring(client, path, wanted, as_json)
    _show(reply, as_json)
    if reply.dataset.state == DATASET_STATE_FAILED:
        raise typer.Exit(1)


@app.command("ls")
def list_datasets(as_json: output.Json = False) -> None:
    """List data sets, newest first."""
    merged = ListDatasetsResponse()
    with connect() as client:
        while True:
            page = client.datasets.ListDatasets(ListDatasetsRequest(page_token=merged.next_page_token))
            merged.datasets.extend(page.datasets)
            merged.next_page_token = page.next_page_token
            merged.used_bytes, merged.quota_bytes = page.used_bytes, page.quota_bytes
            if not page.next_page_token:
                break
    if as_json:
        output.message_json(merged)
        return
    output.table(COLUMNS, [_row(dataset) for dataset in merged.datasets])
    quota = f" of {output.size(merged.quota_bytes)}" if merged.quota_bytes else ""
    output.note(f"{output.size(merged.used_bytes)}{quota} used")


@app.command()
def show(dataset_id: DatasetId, as_json: output.Json = False) -> None:
    """Describe one data set: what it holds, and what is wrong with its files."""
    with connect() as client:
        reply = client.datasets.GetDataset(GetDatasetRequest(dataset_id=dataset_id))
    _show(reply, as_json)


@app.command()
def rm(dataset_id: DatasetId, as_json: output.Json = False) -> None:
    """Delete a data set; refused while a job uses it."""
    with connect() as client:
        reply = client.datasets.DeleteDataset(DeleteDatasetRequest(dataset_id=dataset_id))
    if as_json:
        output.message_json(reply)
        return
    output.note(f"{dataset_id} is deleted; {output.size(reply.freed_bytes)} freed")


def bring(client: Client, path: str, wanted: Wanted, quiet: bool) -> GetDatasetResponse:
    """The data set of a path or a URI, once its check has ended; bars are shown unless ``quiet``."""
    if "://" in path:
        dataset_id = _import(client, path, wanted, quiet)
    else:
        dataset_id = _upload(client, Path(path), wanted, quiet)
    return _checked(client, dataset_id, quiet)


def _upload(client: Client, path: Path, wanted: Wanted, as_json: bool) -> str:
    """Send the files of ``path``; returns the data set's id."""
    with _bars(as_json) as bars:
        try:
            files = gather(path, bars)
        except OSError as error:
            raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from None
        if not files:
            raise typer.BadParameter(f"{path} holds no files")
        name = wanted.name or path.resolve().name
        return send(client, start_of(files, name, wanted.kind, wanted.bad_files), files, bars)


def _import(client: Client, uri: str, wanted: Wanted, as_json: bool) -> str:
    request = ImportDatasetRequest(
        request_id=str(uuid.uuid4()),
        uri=uri,
        display_name=wanted.name,
        kind=wanted.kind,
        bad_files=wanted.bad_files,
    )
    dataset_id = ""
    with _bars(as_json) as bars:
        task = bars.add_task("importing", total=None)
        for reply in client.datasets.ImportDataset(request, timeout=TIMEOUT):
            dataset_id = reply.dataset.dataset_id
            step = reply.progress
            bars.update(task, completed=step.completed, total=step.total or None)
    return dataset_id


def _checked(client: Client, dataset_id: str, as_json: bool) -> GetDatasetResponse:
    """The data set, once its check has ended."""
    columns = (TextColumn("checking {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.error_console(), transient=True, disable=as_json) as bars:
        task = bars.add_task("", total=None)
        while True:
            reply = client.datasets.GetDataset(GetDatasetRequest(dataset_id=dataset_id))
            if reply.dataset.state in {DATASET_STATE_READY, DATASET_STATE_FAILED}:
                return reply
            step = reply.progress
            bars.update(
                task, completed=step.completed, total=step.total or None, description=step.message[:40]
            )
            time.sleep(_LOOK)


def _bars(as_json: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=output.error_console(), transient=True, disable=as_json)


def _show(reply: GetDatasetResponse, as_json: bool) -> None:
    if as_json:
        output.message_json(reply)
        return
    dataset, report = reply.dataset, reply.dataset.report
    output.table(COLUMNS, [_row(dataset)])
    pixels = f"{report.min_width} x {report.min_height} to {report.max_width} x {report.max_height}"
    facts = [
        ("files", f"{report.files}, {report.skipped_files} left out, {report.duplicates} copies"),
        ("formats", ", ".join(f"{count} {name}" for name, count in sorted(report.formats.items()))),
        ("pixels", pixels if report.max_width else ""),
        ("without caption", f"{report.captions_missing}" if report.max_width else ""),
        ("tokens", f"{report.tokens} by {report.token_encoding}" if report.token_encoding else ""),
        ("from", dataset.source_uri),
        ("digest", dataset.digest),
        *(sorted(dataset.labels.items())),
    ]
    output.write("".join(f"{name:16}{value}\n" for name, value in facts if value))
    _show_issues(report)
    if dataset.state == DATASET_STATE_FAILED:
        output.fail(dataset.error)


def _show_issues(report: DatasetReport) -> None:
    issues = [
        (
            f"{issue.path}:{issue.line}" if issue.line else issue.path,
            FileProblem.Name(issue.problem).removeprefix("FILE_PROBLEM_").lower().replace("_", " "),
            issue.message,
        )
        for issue in report.issues[:_SHOWN_ISSUES]
    ]
    if issues:
        output.table(("file", "problem", ""), issues)
    if len(report.issues) > len(issues):
        output.note(f"{report.issue_count} files have something wrong; --json lists up to 1000")


def _row(dataset: Dataset) -> tuple[str, ...]:
    return (
        dataset.dataset_id,
        dataset.display_name,
        DatasetKind.Name(dataset.kind).removeprefix("DATASET_KIND_").replace("UNSPECIFIED", "").lower(),
        DatasetState.Name(dataset.state).removeprefix("DATASET_STATE_").lower(),
        f"{dataset.report.examples}",
        output.size(dataset.size_bytes),
        dataset.create_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
    )
