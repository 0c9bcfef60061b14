"""``pequod text`` and ``next``: n-gram and language-model text on the terminal."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import output
from gateway.cli.connection import connect
from pequod.sampler.v1 import (
    SMOOTHING_BACKOFF,
    SMOOTHING_KNESER_NEY,
    SMOOTHING_UNSPECIFIED,
    GenerateRequest,
    GenerateStreamRequest,
    NextTokensRequest,
    NextTokensResponse,
    NgramOptions,
    Sampling,
    Stopping,
    StructuredOutput,
)


class SmoothingChoice(enum.StrEnum):
    """How unseen n-grams are treated."""

    BACKOFF = "backoff"
    KNESER_NEY = "kneser-ney"


Prompt = Annotated[str, typer.Argument(help="What to continue; - reads standard input.")]
Model = Annotated[str, typer.Option(help="Model reference. Default: the sampler's default model.")]
Order = Annotated[
    int | None, typer.Option(help="N of an n-gram model: the next symbol depends on the N-1 before it.")
]
Temperature = Annotated[float | None, typer.Option(help="0 takes the likeliest; 1 is the model's own.")]
TopP = Annotated[float | None, typer.Option(help="Keep the smallest set with this probability, in (0, 1].")]
TopK = Annotated[int | None, typer.Option(help="Keep the k likeliest; 0 keeps all.", min=0)]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text.", min=0)]
MaxTokens = Annotated[int | None, typer.Option(help="Most symbols or tokens to produce.")]
Stop = Annotated[list[str] | None, typer.Option(help="Text that ends the completion; may be repeated.")]
Schema = Annotated[
    str | None, typer.Option(help="JSON Schema that the text must fit, or @FILE that holds one.")
]
Adapter = Annotated[str, typer.Option(help="LoRA adapter to apply, a model reference.")]
Smooth = Annotated[SmoothingChoice | None, typer.Option(help="How unseen n-grams are treated.")]


def text(
    prompt: Prompt,
    model: Model = "",
    order: Order = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    stop: Stop = None,
    json_schema: Schema = None,
    adapter: Adapter = "",
    smoothing: Smooth = None,
    as_json: output.Json = False,
) -> None:
    """Continue PROMPT; the text appears as it is drawn."""
    request = GenerateRequest(
        model=model,
        prompt=read(prompt),
        sampling=Sampling(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed),
        stopping=Stopping(max_tokens=max_tokens, stop=stop or []),
        structured=StructuredOutput(json_schema=_schema(json_schema)) if json_schema else None,
        ngram=_ngram(order, smoothing),
        adapter=adapter,
    )
    with connect() as client:
        if as_json:
            output.message_json(client.sampler.Generate(request))
            return
        # The two requests share their fields and numbers, so one parses as the other.
        stream = GenerateStreamRequest.FromString(request.SerializeToString())
        stream.echo = not json_schema
        for piece in client.sampler.GenerateStream(stream):
            output.write(piece.text)
        output.write("\n")


def next_tokens(
    prompt: Prompt,
    model: Model = "",
    order: Order = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    adapter: Adapter = "",
    smoothing: Smooth = None,
    limit: Annotated[int, typer.Option(help="Rows of the table.", min=1, max=1000)] = 10,
    as_json: output.Json = False,
) -> None:
    """Show the probability of each symbol or token after PROMPT."""
    request = NextTokensRequest(
        model=model,
        prompt=read(prompt),
        sampling=Sampling(temperature=temperature, top_p=top_p, top_k=top_k),
        limit=limit,
        ngram=_ngram(order, smoothing),
        adapter=adapter,
    )
    with connect() as client:
        reply = client.sampler.NextTokens(request)
    if as_json:
        output.message_json(reply)
    else:
        _show_next(reply)


def _show_next(reply: NextTokensResponse) -> None:
    highest = max((t.probability for t in reply.tokens), default=1.0) or 1.0
    counted = any(t.count for t in reply.tokens)  # a transformer has probabilities only
    rows: list[tuple[str | Text, ...]] = [
        (
            repr(t.text),
            f"{t.probability:.4f}",
            *([f"{t.count}" if t.count else ""] if counted else []),
            Text(output.bar(t.probability / highest), style="cyan"),
        )
        for t in reply.tokens
    ]
    output.table(("next", "probability#", *(["count#"] if counted else []), ""), rows)
    seen = f"; context: {reply.context_used} symbols, seen {reply.context_count} times"
    output.console().print(
        f"{reply.candidates} candidates, {reply.entropy_bits:.2f} bits{seen if reply.context_count else ''}",
        style="dim",
    )


def _ngram(order: int | None, smoothing: SmoothingChoice | None) -> NgramOptions | None:
    if order is None and smoothing is None:
        return None
    chosen = {SmoothingChoice.BACKOFF: SMOOTHING_BACKOFF, SmoothingChoice.KNESER_NEY: SMOOTHING_KNESER_NEY}
    return NgramOptions(order=order, smoothing=chosen[smoothing] if smoothing else SMOOTHING_UNSPECIFIED)


def _schema(given: str) -> str:
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text()
    except OSError as error:
        raise typer.BadParameter(f"{given[1:]} cannot be read: {error.strerror}") from None


def read(prompt: str) -> str:
    """The prompt, from standard input when it is "-"."""
    return sys.stdin.read() if prompt == "-" else prompt
