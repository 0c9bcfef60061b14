"""``pequod store``: what nobody needs any more goes. It works on files and databases themselves."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.durations import seconds_of
from gateway.cli.operator import audit, refusals
from services.common.catalogue import UPKEEP
from services.common.upkeep.collecting import Collected, Failure, Item, Outcome, Source, collect
from services.common.upkeep.policy import Policy

app = typer.Typer(help="Keep the store in order.", no_args_is_help=True)

_NEVER = "never"
_SPAN = "30d, 12h, 90m or 45s"


@app.callback()
def store() -> None:
    """Keep the store in order."""


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is due; else only show it.")] = False,
    grace: Annotated[str, typer.Option(help=f"How long nobody must have needed a version: {_SPAN}.")] = "7d",
    keep_last: Annotated[int, typer.Option(help="Newest versions of each name, which stay.", min=1)] = 3,
    checkpoints_after: Annotated[
        str, typer.Option(help="Files of checkpoints go so long after their job's end; or `never`.")
    ] = "30d",
    datasets_after: Annotated[
        str, typer.Option(help="Data sets that no job ever named go at this age; or `never`.")
    ] = "90d",
    ask: Annotated[
        list[str] | None,
        typer.Option(help="host:port of /metrics of a service that has models in memory; may be repeated."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="No service runs: ask none.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show what nobody needs, and why: versions, broken uploads, exports, checkpoints, data sets, cache."""
    with refusals():
        policy = Policy(
            grace_seconds=seconds_of(grace),
            keep_last=keep_last,
            checkpoint_seconds=_or_never(checkpoints_after),
            dataset_seconds=_or_never(datasets_after),
            asked=tuple(ask or ()),
            is_offline=offline,
        )
        with _garbage(policy) as sources:
            found = collect(sources, delete, _told)
    if delete:
        removed = [item.what for item, outcome in found.items if outcome is Outcome.REMOVED]
        audit("store gc", {"removed": len(removed), "bytes": found.size_of(Outcome.REMOVED)})
    if as_json:
        output.write(json.dumps(_plain(found, delete), indent=2) + "\n")
    else:
        _show(found, delete)
    raise typer.Exit(1 if found.failures else 0)


def _garbage(policy: Policy) -> AbstractContextManager[Sequence[Source]]:
    """From the module that knows jobs and data sets: of services, the gateway imports what they share."""
    opened: AbstractContextManager[Sequence[Source]] = importlib.import_module(UPKEEP).garbage(
        policy, os.environ
    )
    return opened


def _or_never(text: str) -> float | None:
    return None if text == _NEVER else seconds_of(text)


def _told(failure: Failure) -> None:
    output.warn(f"{failure.source} are left alone: {failure.why}")


def _show(found: Collected, delete: bool) -> None:
    rows = [_row(item, outcome) for item, outcome in found.items]
    if rows:
        output.table(("kind", "what", "tenant", "size#", "outcome", "why"), rows)
    done = Outcome.REMOVED if delete else Outcome.WOULD_GO
    counts = {outcome: sum(each is outcome for _, each in found.items) for outcome in Outcome}
    output.note(
        f"{counts[done]} {'removed' if delete else 'would be removed by --delete'}: "
        f"{output.size(found.size_of(done))}; {counts[Outcome.WAITS]} more wait: "
        f"{output.size(found.size_of(Outcome.WAITS))}"
    )


def _row(item: Item, outcome: Outcome) -> tuple[str, ...]:
    until = f" until {item.goes_at:%F %R}Z" if outcome is Outcome.WAITS and item.goes_at else ""
    return item.kind, item.what, item.tenant, output.size(item.size_bytes), f"{outcome}{until}", item.why


def _plain(found: Collected, delete: bool) -> dict[str, Any]:
    return {
        "deleted": delete,
        "items": [
            {
                "kind": item.kind,
                "what": item.what,
                "tenant": item.tenant,
                "bytes": item.size_bytes,
                "why": item.why,
                "goes_at": f"{item.goes_at:%FT%TZ}" if item.goes_at else None,
                "outcome": outcome.value,
            }
            for item, outcome in found.items
        ],
        "failures": [{"source": each.source, "why": each.why} for each in found.failures],
    }
