"""``pequod usage``: what was used, from the usage database itself."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.durations import seconds_of
from gateway.database import SCHEMA, DatabaseSettings
from gateway.usage.store import GROUPINGS, Asked, UsageStore
from services.common.errors import ServiceError
from services.common.settings import SettingsError, from_environment


def usage(
    by: Annotated[str, typer.Option(help=f"Sum by these, comma separated: {', '.join(GROUPINGS)}.")] = (
        "tenant,key,model"
    ),
    since: Annotated[str, typer.Option(help="Only of the last 30d, 12h, 90m …, in whole hours.")] = "",
    tenant: Annotated[str, typer.Option(help="Only of this tenant.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show calls, tokens, steps and compute time; a running gateway writes them every five seconds."""
    try:
        asked = _asked(by, since, tenant)
        database = from_environment(DatabaseSettings).open()
    except (ValueError, SettingsError, ServiceError) as error:
        output.fail(str(error))
        raise typer.Exit(1) from None
    if database is None:
        output.fail(f"{SCHEMA.setting} is empty: usage is not kept")
        raise typer.Exit(1)
    try:
        rows = [_plain(row) for row in UsageStore(database).sums(asked)]
    finally:
        database.close()
    _show(rows, asked.by, as_csv, as_json)


def _asked(by: str, since: str, tenant: str) -> Asked:
    groups = [each.strip() for each in by.split(",") if each.strip()]
    if unknown := [each for each in groups if each not in GROUPINGS]:
        raise ValueError(f"--by {unknown[0]!r} is not one of {', '.join(GROUPINGS)}")
    if not groups:
        raise ValueError(f"--by needs one of {', '.join(GROUPINGS)}")
    begin = datetime.now(UTC) - timedelta(seconds=seconds_of(since)) if since else None
    return Asked(groups, begin, None, tenant)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Times as text, milliseconds as whole numbers."""
    shown = {name: f"{value:%FT%RZ}" if isinstance(value, datetime) else value for name, value in row.items()}
    return {**shown, "compute_ms": round(float(shown["compute_ms"]))}


def _show(rows: Sequence[Mapping[str, Any]], by: Sequence[str], as_csv: bool, as_json: bool) -> None:
    if as_json:
        output.write(json.dumps({"usage": rows}, indent=2, default=int) + "\n")
        return
    columns = list(rows[0]) if rows else [*by, "calls"]
    if as_csv:
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    output.table(tuple(columns), [tuple(str(row[name]) for name in columns) for row in rows])
