"""``pequod tokens``: how an encoding cuts a text."""

from __future__ import annotations

import itertools
import re
import sys
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import output
from gateway.cli.connection import connect
from pequod.tokenizer.v1 import Tokenization, TokenizeRequest

# Backgrounds that neighbouring tokens alternate between, each readable with black letters.
_COLOURS = ("bright_cyan", "bright_yellow", "bright_green", "bright_magenta")
_LINE_END = "⏎"
_SPACE = "·"
# Control characters as the signs that Unicode has for them, so that none reaches a terminal.
_SIGNS = str.maketrans(
    {chr(code): chr(0x2400 + code) for code in range(32)}
    | {"\n": _LINE_END, "\r": "␍", "\t": "⇥", "\x7f": "␡"}
)
# How `surrogateescape` decodes bytes that are no whole character.
_STRAY = re.compile("[\udc80-\udcff]+")


def tokens(
    text: Annotated[str, typer.Argument(help="What to cut; - reads standard input.")],
    encoding: Annotated[
        str, typer.Option(help="An encoding, or any model with a tokenizer. Default: the service's.")
    ] = "",
    ids_only: Annotated[bool, typer.Option("--ids-only", help="Print the ids and nothing else.")] = False,
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
    if ids_only:
        output.write(" ".join(map(str, found.ids)) + "\n")
        return
    if table:
        _show_table(found)
    else:
        _show_pieces(found)
    count = len(found.ids)
    output.write(f"{count} token{'' if count == 1 else 's'} ({reply.usage.model})\n")


def _show_pieces(found: Tokenization) -> None:
    """Coloured where there are colours; elsewhere on one line with a bar between tokens."""
    shown = [spelling(piece) for piece in found.pieces]
    console = output.console()
    if not console.is_terminal or console.no_color or console.color_system is None:
        output.write("|".join(shown) + "\n")
        return
    broken = [part.replace(_LINE_END, f"{_LINE_END}\n") for part in shown]
    parts = [
        (part, f"black on {colour}") for part, colour in zip(broken, itertools.cycle(_COLOURS), strict=False)
    ]
    console.print(Text.assemble(*parts), soft_wrap=True)


def _show_table(found: Tokenization) -> None:
    rows = [
        (f"{token}", _ends_marked(spelling(piece)), f"{start}..{end}")
        for token, piece, start, end in zip(found.ids, found.pieces, found.starts, found.ends, strict=True)
    ]
    output.table(("id#", "piece", "bytes#"), rows)


def spelling(piece: bytes) -> str:
    """A piece to look at.

    Control characters appear as signs, others that cannot be seen by their number ("<U+200B>"), bytes
    that are no whole character in hexadecimal ("<E5 90>").
    """
    text = piece.decode(errors="surrogateescape").translate(_SIGNS)
    return "".join(map(_visible, _STRAY.sub(_hexadecimal, text)))


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else f"<U+{ord(letter):04X}>"


def _ends_marked(shown: str) -> str:
    """Spaces at either end as dots: a table would hide them."""
    inner = shown.strip(" ")
    if not inner:
        return _SPACE * len(shown)
    before, _, after = shown.partition(inner)
    return _SPACE * len(before) + inner + _SPACE * len(after)


def _hexadecimal(stray: re.Match[str]) -> str:
    return f"<{stray[0].encode(errors='surrogateescape').hex(' ').upper()}>"
