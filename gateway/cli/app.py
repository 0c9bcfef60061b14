"""The commands of ``pequod``, and what becomes of their errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import typer

from gateway.cli import (
    backup,
    chat,
    datasets,
    embed,
    face,
    finetune,
    image,
    inspection,
    jobs,
    keys,
    models,
    output,
    platform,
    store,
    text,
    tokens,
    usage,
    words,
)
from pequod_client import PequodError


def build() -> typer.Typer:
    """Every command under its documented name."""
    app = typer.Typer(
        help="Pequod: a self-hosted platform for generative AI.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.command("up")(platform.up)
    app.command("serve")(platform.serve)
    app.command("status")(platform.status)
    app.command("text")(text.text)
    app.command("chat")(chat.chat)
    app.command("next")(text.next_tokens)
    app.command("inspect")(inspection.inspect)
    app.command("tokens")(tokens.tokens)
    app.command("embed")(embed.embed)
    app.command("rank")(embed.rank)
    app.command("image")(image.image)
    app.command("face")(face.face)
    app.command("upscale")(image.upscale)
    app.command("ladder")(image.ladder)
    app.command("finetune")(finetune.finetune)
    app.add_typer(words.app, name="words")
    app.add_typer(models.app, name="models")
    app.add_typer(datasets.app, name="datasets")
    app.add_typer(jobs.app, name="jobs")
    app.add_typer(keys.app, name="keys")
    app.add_typer(store.app, name="store")
    app.command("usage")(usage.usage)
    app.command("backup")(backup.backup)
    app.command("restore")(backup.restore)
    app.command("verify")(backup.verify)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. 1: the platform refused, 2: the command line is wrong."""
    try:
        build()(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    except PequodError as error:
        _show(error, as_json="--json" in arguments)
        return 1
    except UnicodeError as error:
        output.fail(f"the text cannot be read or shown as UTF-8: {error}")
        return 2
    return 0


def _show(error: PequodError, as_json: bool) -> None:
    if as_json:
        violations = [{"field": v.field, "description": v.description} for v in error.violations]
        body = {"code": error.code.name, "reason": error.reason, "message": error.message}
        sys.stderr.write(json.dumps({"error": {**body, "violations": violations}}) + "\n")
        return
    output.fail(f"{error.message} ({error.code.name}, request {error.request_id or 'not sent'})")
