"""``pequod finetune``: from a folder of data to a model that is served."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format

from gateway.cli import output
from gateway.cli.connection import connect
from gateway.cli.datasets import Wanted, bring
from gateway.cli.following import TIMEOUT, follow
from gateway.cli.job_rows import COLUMNS, end, row, show_forecast
from gateway.cli.jobs import Previews, made_folder
from pequod.finetune.v1 import (
    DATASET_KIND_IMAGES,
    DATASET_STATE_FAILED,
    EXECUTOR_UNSPECIFIED,
    PROMOTION_BEST,
    PROMOTION_MANUAL,
    CreateJobRequest,
    Dataset,
    Executor,
    GetDatasetRequest,
    JobSpec,
    Output,
    Resources,
)
from pequod_client import Client

_PICTURES, _TEXTS = "dreambooth", "lora_lm"
_BASES = {"dreambooth": "peeps-diffusion", "lora_lm": "storyteller", "full_lm": "storyteller"}
"""What recipes start from that are told nothing else."""
_IS_ID = "ds-"


def finetune(
    data: Annotated[
        str, typer.Argument(help="A file, a folder, a .zip, a URI; or the id of a data set, ds-…")
    ],
    instance: Annotated[
        str, typer.Option("--as", help='What the pictures show, with a rare word: "sks person".')
    ] = "",
    recipe: Annotated[
        str, typer.Option(help="Default: dreambooth for pictures, lora_lm for texts and chats.")
    ] = "",
    base: Annotated[str, typer.Option(help="Model to start from. Default: the shipped one.")] = "",
    name: Annotated[str, typer.Option(help="Name of the result. Default: the base's and the job's.")] = "",
    alias: Annotated[str, typer.Option(help="Alias to move. Default: production.")] = "",
    preset: Annotated[str, typer.Option(help="The recipe's preset: person, object, style …")] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Default: drawn.")] = None,
    every: Annotated[int, typer.Option("--checkpoint-every", min=0, help="Steps between checkpoints.")] = 0,
    keep: Annotated[int, typer.Option(min=0, help="Checkpoints to keep. Default: 5.")] = 0,
    patience: Annotated[int, typer.Option(min=0, help="Checkpoints without a better one to end at.")] = 0,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the recipe; may be repeated.")
    ] = None,
    executor: Annotated[str, typer.Option(help="What runs it: local or kubernetes. Default: local.")] = "",
    accelerators: Annotated[int | None, typer.Option(min=0, help="GPUs. Default: the recipe's.")] = None,
    manual: Annotated[bool, typer.Option(help="Publish nothing at the end.")] = False,
    forecast: Annotated[bool, typer.Option(help="Only say what it would take.")] = False,
    watch: Annotated[bool, typer.Option(help="Follow it to its end.")] = False,
    previews: Previews = None,
    as_json: output.Json = False,
) -> None:
    """Train on data of one's own; with --watch, end with the name of the model that is served then."""
    folder = made_folder(previews)
    parameters = _parameters(values or [], instance)
    with connect() as client:
        dataset = _dataset(client, data, as_json)
        chosen = recipe or (_PICTURES if dataset.kind == DATASET_KIND_IMAGES else _TEXTS)
        spec = JobSpec(
            recipe=chosen,
            base=base or _BASES.get(chosen, ""),
            dataset_id=dataset.dataset_id,
            preset=preset,
            steps=steps,
            seed=seed,
            checkpoint_every=every,
            keep_checkpoints=keep,
            executor=_executor(executor),
            resources=Resources(accelerators=accelerators),
            patience=patience,
            output=Output(name=name, alias=alias, promotion=PROMOTION_MANUAL if manual else PROMOTION_BEST),
        )
        json_format.ParseDict(parameters, spec.parameters)
        if forecast:
            _forecast(client, spec, as_json)
            return
        request = CreateJobRequest(request_id=str(uuid.uuid4()), spec=spec)
        reply = client.finetune.CreateJob(request)
        if not watch:
            output.message_json(reply) if as_json else output.table(COLUMNS, [row(reply.job)])
            return
        output.note(f"job {reply.job.job_id}")
        job = follow(client, reply.job.job_id, as_json, folder)
    end(job, as_json)


def _dataset(client: Client, data: str, quiet: bool) -> Dataset:
    """The data set named, or made of the files there. Ends the command where no file can be used."""
    if data.startswith(_IS_ID) and not Path(data).exists():
        return client.datasets.GetDataset(GetDatasetRequest(dataset_id=data)).dataset
    dataset = bring(client, data, Wanted(), quiet).dataset
    if dataset.state == DATASET_STATE_FAILED:
        output.fail(f"{data} holds nothing to learn from: {dataset.error}")
        raise typer.Exit(1)
    for issue in dataset.report.issues[:5]:
        output.warn(f"{issue.path}: {issue.message}")
    return dataset


def _executor(name: str) -> Executor.ValueType:
    """By its name for people. Raises BadParameter listing the known."""
    known = {each.removeprefix("EXECUTOR_").lower(): value for each, value in Executor.items() if value}
    if name and name.lower() not in known:
        raise typer.BadParameter(f"{name!r} is no executor; executors are {', '.join(known)}")
    return known.get(name.lower(), EXECUTOR_UNSPECIFIED)


def _parameters(values: list[str], instance: str) -> dict[str, Any]:
    """What --set and --as say; a value is JSON where it can be, else a text. Raises BadParameter."""
    found: dict[str, Any] = {"instance_prompt": instance} if instance else {}
    for each in values:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--set {each!r}: NAME=VALUE is needed")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _forecast(client: Client, spec: JobSpec, as_json: bool) -> None:
    reply = client.finetune.CreateJob(CreateJobRequest(spec=spec, validate_only=True), timeout=TIMEOUT)
    if as_json:
        output.message_json(reply)
    else:
        show_forecast(reply.forecast)
