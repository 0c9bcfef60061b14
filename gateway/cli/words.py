"""``pequod words``: neighbours, similarities and analogies of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from google.protobuf.message import Message
from rich.text import Text

from gateway.cli import output
from gateway.cli.connection import connect
from pequod.tokenizer.v1 import (
    ANALOGY_METHOD_ADD,
    ANALOGY_METHOD_MULTIPLY,
    AnalogyRequest,
    Neighbor,
    NeighborsRequest,
    WordPair,
    WordSimilarityRequest,
)

app = typer.Typer(help="Ask word vectors what is alike.", no_args_is_help=True)

Model = Annotated[str, typer.Option(help="Reference of word vectors. Default: the service's.")]
Limit = Annotated[int, typer.Option(help="Words to return.", min=1, max=1000)]


@app.command()
def neighbors(
    word: Annotated[str, typer.Argument(help="A word of the vocabulary.")],
    model: Model = "",
    limit: Limit = 10,
    as_json: output.Json = False,
) -> None:
    """List the words nearest to WORD."""
    with connect() as client:
        reply = client.embeddings.Neighbors(NeighborsRequest(model=model, word=word, limit=limit))
    _show(reply, reply.neighbors, as_json)


@app.command()
def similarity(
    first: Annotated[str, typer.Argument(metavar="A")],
    second: Annotated[str, typer.Argument(metavar="B")],
    model: Model = "",
    as_json: output.Json = False,
) -> None:
    """Compare two words: dot product and cosine of their vectors."""
    pair = WordPair(first=first, second=second)
    with connect() as client:
        reply = client.embeddings.WordSimilarity(WordSimilarityRequest(model=model, pairs=[pair]))
    if as_json:
        output.message_json(reply)
        return
    found = reply.similarities[0]
    rows = [(first, second, f"{found.dot_product:.4f}", f"{found.cosine:.4f}")]
    output.table(("word", "word", "dot product#", "cosine#"), rows)


@app.command()
def analogy(
    plus: Annotated[list[str] | None, typer.Option(help="A word to add; may be repeated.")] = None,
    minus: Annotated[list[str] | None, typer.Option(help="A word to take away; may be repeated.")] = None,
    multiply: Annotated[bool, typer.Option("--multiply", help="Multiply similarities (3CosMul).")] = False,
    model: Model = "",
    limit: Limit = 10,
    as_json: output.Json = False,
) -> None:
    """Complete an analogy: --plus man --plus mother --minus woman gives father."""
    request = AnalogyRequest(
        model=model,
        positive=plus or [],
        negative=minus or [],
        limit=limit,
        method=ANALOGY_METHOD_MULTIPLY if multiply else ANALOGY_METHOD_ADD,
    )
    with connect() as client:
        reply = client.embeddings.Analogy(request)
    _show(reply, reply.neighbors, as_json)


def _show(reply: Message, found: Sequence[Neighbor], as_json: bool) -> None:
    if as_json:
        output.message_json(reply)
        return
    highest = max((each.similarity for each in found), default=1.0)
    rows = [
        (
            each.word,
            f"{each.similarity:.4f}",
            f"{each.rank}",
            Text(output.bar(max(each.similarity, 0.0) / max(highest, 1e-9)), style="cyan"),
        )
        for each in found
    ]
    output.table(("word", "similarity#", "rank#", ""), rows)
