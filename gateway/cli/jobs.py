"""``pequod jobs``: list, follow and steer training jobs, promote their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.connection import connect
from gateway.cli.following import follow
from gateway.cli.job_rows import (
    CHECKPOINT_COLUMNS,
    COLUMNS,
    checkpoint_row,
    end,
    row,
    scores_shown,
    show_job,
    state_of,
)
from pequod.finetune.v1 import (
    REPORT_FORMAT_HTML,
    REPORT_FORMAT_PNG,
    CancelJobRequest,
    Checkpoint,
    DeleteJobRequest,
    GetJobRequest,
    ListCheckpointsRequest,
    ListCheckpointsResponse,
    ListJobsRequest,
    ListJobsResponse,
    PauseJobRequest,
    PromoteCheckpointRequest,
    ResumeJobRequest,
)
from pequod_client import Client

_FORMATS = {".html": REPORT_FORMAT_HTML, ".png": REPORT_FORMAT_PNG}

app = typer.Typer(help="List, follow and steer training jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="ft-… as `pequod jobs ls` shows it.")]
Previews = Annotated[Path | None, typer.Option(help="Folder to write previews into.", file_okay=False)]


@app.command("list", hidden=True)
@app.command("ls")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    recipe: Annotated[str, typer.Option(help="Only of this recipe.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
    as_json: output.Json = False,
) -> None:
    """List jobs, newest first."""
    wanted = [state_of(each) for each in state or ()]
    merged = ListJobsResponse()
    with connect() as client:
        while True:
            size = min(1000, limit - len(merged.jobs))
            request = ListJobsRequest(
                page_size=size, page_token=merged.next_page_token, states=wanted, recipe=recipe
            )
            page = client.finetune.ListJobs(request)
            merged.jobs.extend(page.jobs)
            merged.next_page_token = page.next_page_token
            if not page.next_page_token or len(merged.jobs) >= limit:
                break
    if as_json:
        output.message_json(merged)
        return
    output.table(COLUMNS, [row(job) for job in merged.jobs])


@app.command("get", hidden=True)
@app.command()
def show(job_id: JobId, as_json: output.Json = False) -> None:
    """Describe one job."""
    with connect() as client:
        reply = client.finetune.GetJob(GetJobRequest(job_id=job_id))
    show_job(reply, as_json)


@app.command()
def watch(job_id: JobId, previews: Previews = None, as_json: output.Json = False) -> None:
    """Follow a job until it ends, or stands still."""
    made = made_folder(previews)
    with connect() as client:
        job = follow(client, job_id, as_json, made)
    end(job, as_json)


@app.command()
def cancel(job_id: JobId, as_json: output.Json = False) -> None:
    """End a job; its checkpoints are kept."""
    _steer(lambda client: client.finetune.CancelJob(CancelJobRequest(job_id=job_id)), as_json)


@app.command()
def pause(job_id: JobId, as_json: output.Json = False) -> None:
    """Let a job stop after a checkpoint, to go on later."""
    _steer(lambda client: client.finetune.PauseJob(PauseJobRequest(job_id=job_id)), as_json)


@app.command()
def resume(job_id: JobId, as_json: output.Json = False) -> None:
    """Let a paused job go on."""
    _steer(lambda client: client.finetune.ResumeJob(ResumeJobRequest(job_id=job_id)), as_json)


@app.command()
def checkpoints(
    job_id: JobId,
    previews: Previews = None,
    as_json: output.Json = False,
) -> None:
    """List a job's checkpoints, the best first, with their scores."""
    folder = made_folder(previews)
    merged = ListCheckpointsResponse()
    with connect() as client:
        while True:
            request = ListCheckpointsRequest(
                job_id=job_id, page_token=merged.next_page_token, previews=folder is not None
            )
            page = client.finetune.ListCheckpoints(request)
            merged.checkpoints.extend(page.checkpoints)
            merged.next_page_token = page.next_page_token
            if not page.next_page_token:
                break
    if folder is not None:
        for each in merged.checkpoints:
            _write_previews(each, folder)
    if as_json:
        output.message_json(merged)
        return
    names = scores_shown(merged.checkpoints)
    columns = (*CHECKPOINT_COLUMNS, *(f"{name}#" for name in names))
    output.table(columns, [checkpoint_row(each, names) for each in merged.checkpoints])


@app.command()
def promote(
    job_id: JobId,
    checkpoint_id: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Default: the best.")] = "",
    name: Annotated[str, typer.Option(help="Name of the model. Default: the job's.")] = "",
    alias: Annotated[str, typer.Option(help="Alias to move. Default: the job's.")] = "",
    expected: Annotated[
        str | None, typer.Option(help="Move it only if it names this version now; '' for none.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Publish a checkpoint as a model version and point the alias at it."""
    request = PromoteCheckpointRequest(job_id=job_id, checkpoint_id=checkpoint_id, name=name, alias=alias)
    if expected is not None:
        request.expected_version = expected
    with connect() as client:
        reply = client.finetune.PromoteCheckpoint(request)
    if as_json:
        output.message_json(reply)
        return
    before = f", before {reply.previous_version}" if reply.previous_version else ""
    output.write(f"{reply.model.name}:{reply.model.version}\n")
    output.note(f"step {reply.checkpoint.step}, named {', '.join(reply.model.aliases)}{before}")


@app.command()
def report(
    job_id: JobId,
    out: Annotated[Path, typer.Option("-o", "--out", help="File: .html or .png.")] = Path("report.html"),
) -> None:
    """Write a job's chart of figures and scores with its previews into one file."""
    if out.suffix.lower() not in _FORMATS:
        raise typer.BadParameter(f"{out}: a name that ends in .html or .png is needed")
    request = GetJobRequest(job_id=job_id, report_format=_FORMATS[out.suffix.lower()])
    with connect() as client:
        reply = client.finetune.GetJob(request)
    try:
        out.write_bytes(reply.report.data)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be written: {error.strerror}") from None
    output.write(f"{out}\n")


@app.command("delete", hidden=True)
@app.command()
def rm(job_id: JobId, as_json: output.Json = False) -> None:
    """Delete an ended job with its checkpoints; published models stay."""
    with connect() as client:
        reply = client.finetune.DeleteJob(DeleteJobRequest(job_id=job_id))
    if as_json:
        output.message_json(reply)
        return
    output.note(f"{job_id} is deleted; {output.size(reply.freed_bytes)} freed")


def made_folder(folder: Path | None) -> Path | None:
    """A folder to write into, made where it is not there. Raises BadParameter."""
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{folder} cannot be made: {error.strerror}") from None
    return folder


def _write_previews(checkpoint: Checkpoint, folder: Path) -> None:
    """Out of the reply, into files."""
    for number, preview in enumerate(checkpoint.previews):
        if preview.image.data:
            (folder / f"{checkpoint.step:06d}-{number:02d}.png").write_bytes(preview.image.data)
            preview.ClearField("image")


def _steer(call: Callable[[Client], Any], as_json: bool) -> None:
    """Ask for something, and say where the job stands then."""
    with connect() as client:
        reply = call(client)
    if as_json:
        output.message_json(reply)
        return
    output.table(COLUMNS, [row(reply.job)])
    if reply.job.cancel_requested or reply.job.pause_requested:
        output.note("its worker hears of it within a second, and stops after the step that it is at")
