"""The commands of ``pequod``, and what becomes of their errors."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import typer

from gateway.cli import output
from pequod_client import PequodError

_COMMANDS = {
    "up": "platform:up",
    "serve": "platform:serve",
    "status": "platform:status",
    "text": "text:text",
    "chat": "chat:chat",
    "next": "text:next_tokens",
    "inspect": "inspection:inspect",
    "tokens": "tokens:tokens",
    "embed": "embed:embed",
    "rank": "embed:rank",
    "image": "image:image",
    "face": "face:face",
    "upscale": "image:upscale",
    "ladder": "image:ladder",
    "finetune": "finetune:finetune",
    "usage": "usage:usage",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "verify": "backup:verify",
}
_GROUPS = ("words", "models", "datasets", "jobs", "keys", "store")


def build(wanted: str = "") -> typer.Typer:
    """Every command under its documented name; ``wanted`` alone where it names one.

    A command imports what it needs: all of them together take three times as long as most.
    """
    app = typer.Typer(
        help="Pequod: a self-hosted platform for generative AI.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_pequod)
    is_known = wanted in _COMMANDS or wanted in _GROUPS
    for name, where in _COMMANDS.items():
        if not is_known or name == wanted:
            app.command(name)(_imported(where))
    for name in _GROUPS:
        if not is_known or name == wanted:
            app.add_typer(_imported(f"{name}:app"), name=name)
    return app


def _pequod() -> None:
    """Pequod: a self-hosted platform for generative AI."""


def _imported(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(f"gateway.cli.{module}"), name)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit code. 1: the platform refused, 2: the command line is wrong."""
    try:
        build(arguments[0] if arguments else "")(list(arguments))
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
