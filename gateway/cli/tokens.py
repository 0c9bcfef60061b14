"""``pequod tokens``: how an encoding cuts a text."""

from __future__ import annotations

import itertools
import sys
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import output
from gateway.cli.connection import connect
from pequod.tokenizer.v1 import Tokenization, TokenizeRequest

# Backgrounds that neighbouring tokens alternate between, each readable with black letters.
_COLOURS = ("bright_cyan", "bright_yellow", "bright_green", "bright_magenta")


def tokens(
    text: Annotated[str, typer.Argument(help="What to cut; - reads standard input.")],
    encoding: Annotated[
        str, typer.Option(help="An encoding, or any model with a tokenizer. Default: the service's.")
    ] = "",
    table: Annotated[bool, typer.Option("--table", help="Show ids and bytes, one token a line.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show the tokens of TEXT and count them."""
    given = sys.stdin.read() if text == "-" else text
    request = TokenizeRequest(model=encoding, texts=[given], pieces=True, offsets=True)
    with connect() as client:
        reply = client.tokenizer.Tokenize(request)
    if as_json:
        output.message_json(reply)
        return
    found = reply.tokenizations[0]
    if table:
        _show_table(found)
    else:
        _show_pieces(found)
    count = len(found.ids)
    output.write(f"{count} token{'' if count == 1 else 's'} ({reply.usage.model})\n")


def _show_pieces(found: Tokenization) -> None:
    """Coloured in a terminal; elsewhere with a bar between tokens."""
    shown = [spelling(piece) for piece in found.pieces]
    console = output.console()
    if not console.is_terminal:
        output.write("|".join(shown) + "\n")
        return
    colours = itertools.cycle(_COLOURS)
    parts = [(part, f"black on {colour}") for part, colour in zip(shown, colours, strict=False)]
    console.print(Text.assemble(*parts), soft_wrap=True)


def _show_table(found: Tokenization) -> None:
    rows = [
        (f"{token}", spelling(piece), f"{start}..{end}")
        for token, piece, start, end in zip(found.ids, found.pieces, found.starts, found.ends, strict=True)
    ]
    output.table(("id#", "piece", "bytes#"), rows)


def spelling(piece: bytes) -> str:
    """A piece to look at: line ends and tabs as signs, bytes that are no whole character in hexadecimal."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return f"<{piece.hex(' ').upper()}>"
    return text.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥")
