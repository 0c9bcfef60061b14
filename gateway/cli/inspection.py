"""``pequod inspect``: embedding, transformation and unembedding of a prompt on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import output
from gateway.cli.connection import connect
from gateway.cli.text import Model, Prompt, read
from pequod.sampler.v1 import InspectRequest, InspectResponse, LayerReport, TokenLogprob

_LEVELS = " ▁▂▃▄▅▆▇█"
_SHADES = " ░▒▓█"
_SHOWN_DIMENSIONS = 32
_SHOWN_NAMES = 3
_WIDEST = 48
"""Tokens whose attention fits a terminal as a square."""


def inspect(
    prompt: Prompt,
    model: Model = "",
    top: Annotated[int, typer.Option(help="Tokens to read out at each layer.", min=1, max=50)] = 5,
    attention: Annotated[bool, typer.Option("--attention", help="Draw each layer's attention.")] = False,
    as_json: output.Json = False,
) -> None:
    """Show what happens to PROMPT inside a transformer: what goes in, each layer, what comes out."""
    request = InspectRequest(model=model, prompt=read(prompt), top=top, attention=True, embeddings=True)
    with connect() as client:
        reply = client.sampler.Inspect(request)
    if as_json:
        output.message_json(reply)
        return
    _show_embedding(reply)
    _show_transformation(reply)
    if attention:
        _draw_attention(reply)
    _show_unembedding(reply)


def _show_embedding(reply: InspectResponse) -> None:
    """The matrix that goes in, a token a line: its first numbers as heights."""
    count, dimensions = len(reply.tokens), reply.dimensions
    _heading(f"Embedding: {count} tokens become a matrix of D = {dimensions} x N = {count} numbers")
    largest = max(map(abs, reply.embeddings), default=1.0) or 1.0
    rows = []
    for place, token in enumerate(reply.tokens):
        column = reply.embeddings[place * dimensions : (place + 1) * dimensions]
        heights = "".join(_level(value / largest) for value in column[:_SHOWN_DIMENSIONS])
        rows.append((f"{place}", repr(token.text), f"{token.id}", heights))
    output.table(("#", "token", "id#", f"its first {min(dimensions, _SHOWN_DIMENSIONS)} numbers"), rows)


def _show_transformation(reply: InspectResponse) -> None:
    """Each layer: how long the last token's vector is, what it looked at, what it would say."""
    _heading("Transformation: the last token after each layer")
    names = [repr(token.text) for token in reply.tokens]
    rows = [
        (
            f"{layer.layer}" if layer.layer else "embedding",
            f"{layer.residual_norms[-1]:.1f}",
            _attended(layer, names),
            " ".join(f"{each.text!r} {math.exp(each.logprob):.2f}" for each in layer.readout[:_SHOWN_NAMES]),
        )
        for layer in reply.layers
    ]
    output.table(("layer", "length#", "looks at (mean of heads)", "would say"), rows)


def _show_unembedding(reply: InspectResponse) -> None:
    """The next token."""
    _heading("Unembedding: the next token")
    output.table(("next", "probability#", ""), list(map(_candidate, reply.next)))


def _candidate(token: TokenLogprob) -> tuple[str, str, Text]:
    probability = math.exp(token.logprob)
    return repr(token.text), f"{probability:.4f}", Text(output.bar(probability), style="cyan")


def _attended(layer: LayerReport, names: Sequence[str]) -> str:
    """The positions that the last one looked at most."""
    if not layer.heads:
        return ""
    weights = _mean(layer)[-len(names) :]
    most = sorted(range(len(names)), key=lambda place: -weights[place])[:_SHOWN_NAMES]
    return " ".join(f"{names[place]} {weights[place]:.2f}" for place in most)


def _draw_attention(reply: InspectResponse) -> None:
    """A square a layer: the row's token looks at the column's, darker is more."""
    count = len(reply.tokens)
    if count > _WIDEST:
        output.note(f"attention of {count} tokens does not fit a terminal: at most {_WIDEST}; --json has it")
        return
    for layer in reply.layers:
        if not layer.heads:
            continue
        _heading(f"Attention of layer {layer.layer} (mean of {len(layer.heads)} heads)")
        weights = _mean(layer)
        rows = [
            (repr(token.text), "".join(_shade(w) for w in weights[place * count : (place + 1) * count]))
            for place, token in enumerate(reply.tokens)
        ]
        output.table(("token", "looks at"), rows)


def _mean(layer: LayerReport) -> list[float]:
    """Weights of all heads, averaged."""
    return [sum(column) / len(layer.heads) for column in zip(*(h.weights for h in layer.heads), strict=True)]


def _level(share: float) -> str:
    """A height for -1..1."""
    return _LEVELS[round((share + 1) / 2 * (len(_LEVELS) - 1))]


def _shade(weight: float) -> str:
    """A shade, two cells wide, for 0..1."""
    return _SHADES[min(math.ceil(weight * (len(_SHADES) - 1)), len(_SHADES) - 1)] * 2


def _heading(text: str) -> None:
    output.console().print(f"\n{text}", style="bold")
