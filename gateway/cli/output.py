"""What the command line prints: tables and notes for people, protobuf JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print the reply as protobuf JSON.")]


def console() -> Console:
    """Standard output, where results go."""
    return Console(highlight=False)


def error_console() -> Console:
    """Standard error, where notes and errors go."""
    return Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """A line about what is going on."""
    error_console().print(Text(text, style="dim"), soft_wrap=True)


def warn(text: str) -> None:
    """A line about something that may not be as was wanted."""
    error_console().print(Text.assemble(("warning: ", "bold yellow"), text), soft_wrap=True)


def fail(text: str) -> None:
    """A line about what went wrong."""
    error_console().print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)


def message_json(message: Message) -> None:
    """``message`` as protobuf JSON on standard output, one object a line."""
    fields = json_format.MessageToDict(message, always_print_fields_with_no_presence=False)
    sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write(text: str) -> None:
    """Raw text on standard output, shown at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], title: str | None = None) -> None:
    """A plain table on standard output; cells are no markup.

    Columns whose name ends in "#" are numbers; those that end in "!" are never cut: they are copied.
    """
    rows = list(rows)
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        shown.add_column(
            column.rstrip("#!"),
            justify="right" if column.endswith("#") else "left",
            min_width=max((len(row[place]) for row in rows), default=0) if column.endswith("!") else None,
        )
    for row in rows:
        shown.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(shown)


def addresses(rows: Sequence[tuple[str, str, str]], seconds: float) -> None:
    """The table that `pequod up` ends its start with, and three commands to try."""
    console().print(f"\n[bold green]Pequod is ready[/] after {seconds:.1f} s\n")
    table(("what", "address", "for"), rows)
    write(
        "\nTry, in another terminal:\n"
        "  .venv/bin/pequod text --model moby-ngram --order 3 'THE '\n"
        '  .venv/bin/pequod tokens --encoding cl100k "Who\'d use \\"后\\" vs. \\"後\\"?"\n'
        '  .venv/bin/pequod image "a smiling person with red hair, blue background" --upscale 4 -o out.png\n'
        "\nCtrl-C stops everything.\n\n"
    )


def status(base: str, state: Mapping[str, Any], as_json: bool) -> None:
    """The gateway's view of the services."""
    if as_json:
        sys.stdout.write(json.dumps(state) + "\n")
        return
    rows = []
    for name, service in state.get("services", {}).items():
        for backend in service.get("backends", []):
            ready = Text("ready", style="green") if backend.get("healthy") else Text("down", style="red")
            rows.append((name, str(backend.get("address", "")), ready))
    table(("service", "backend", "state"), rows, title=f"gateway {base}")


def size(count: int) -> str:
    """A byte count for people: 1.2 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def bar(share: float, width: int = 24) -> str:
    """A bar of ``width`` cells for ``share`` in 0..1."""
    return "█" * round(share * width)
