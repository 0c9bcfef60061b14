"""``pequod embed`` and ``rank``: vectors of texts and pictures, and passages by how well they answer."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gateway.cli import output
from gateway.cli.connection import connect
from pequod.common.v1 import Image
from pequod.tokenizer.v1 import (
    PRECISION_FP32,
    PRECISION_INT8,
    PRECISION_UNSPECIFIED,
    EmbedInput,
    EmbedOptions,
    EmbedRequest,
    EmbedResponse,
    RankRequest,
    RankResponse,
)

_SHOWN_NUMBERS = 4
_SHOWN_LETTERS = 24
_SHOWN_COSINES = 7  # columns that fit beside a text in 80 cells
_MOST = 2**32 - 1  # of a uint32


class PrecisionChoice(enum.StrEnum):
    """Number formats."""

    INT8 = "int8"
    FP32 = "fp32"


_PRECISIONS = {
    None: PRECISION_UNSPECIFIED,
    PrecisionChoice.INT8: PRECISION_INT8,
    PrecisionChoice.FP32: PRECISION_FP32,
}

Model = Annotated[str, typer.Option(help="Model reference. Default: the service's default embedder.")]
Precision = Annotated[PrecisionChoice | None, typer.Option(help="Number format. Default: the model's.")]


def embed(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT…", help="Texts to embed.")] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Picture to embed, for models such as peeps-clip.", exists=True, dir_okay=False),
    ] = None,
    model: Model = "",
    dimensions: Annotated[
        int, typer.Option(help="Keep the first so many; 0 keeps all.", min=0, max=_MOST)
    ] = 0,
    precision: Precision = None,
    prompt: Annotated[str, typer.Option(help="Prefix from the model's configuration, by its name.")] = "",
    as_json: output.Json = False,
) -> None:
    """Show the vectors of TEXTs and pictures, and how alike they are."""
    names, inputs = list(texts or ()), [EmbedInput(text=text) for text in texts or ()]
    for file in image or ():
        names.append(file.name)
        inputs.append(EmbedInput(image=Image(data=file.read_bytes())))
    if not inputs:
        raise typer.BadParameter("give a TEXT or an --image")
    options = EmbedOptions(dimensions=dimensions, prompt_name=prompt, precision=_PRECISIONS[precision])
    request = EmbedRequest(model=model, inputs=inputs, options=options)
    with connect() as client:
        reply = client.embeddings.Embed(request)
    if as_json:
        output.message_json(reply)
        return
    _show_vectors(names, reply)
    if len(names) > 1:
        _show_cosines(names, [list(each.values) for each in reply.embeddings])


def rank(
    query: Annotated[str, typer.Argument(help="What is looked for.")],
    documents: Annotated[list[str], typer.Argument(metavar="DOCUMENT…", help="What is ranked.")],
    model: Model = "",
    top: Annotated[int, typer.Option(help="Documents to return; 0 returns all.", min=0, max=_MOST)] = 0,
    precision: Precision = None,
    as_json: output.Json = False,
) -> None:
    """Order DOCUMENTs by how well they answer QUERY."""
    request = RankRequest(
        model=model,
        query=EmbedInput(text=query),
        documents=[EmbedInput(text=document) for document in documents],
        top_n=top,
        return_documents=True,
        precision=_PRECISIONS[precision],
    )
    with connect() as client:
        reply = client.embeddings.Rank(request)
    if as_json:
        output.message_json(reply)
    else:
        _show_ranking(reply)


def _show_vectors(texts: Sequence[str], reply: EmbedResponse) -> None:
    rows = []
    for text, each in zip(texts, reply.embeddings, strict=True):
        first = " ".join(f"{value:+.4f}" for value in each.values[:_SHOWN_NUMBERS])
        more = " …" if len(each.values) > _SHOWN_NUMBERS else ""
        norm = math.sqrt(sum(value * value for value in each.values))
        rows.append((_short(text), f"{each.input_tokens}", first + more, f"{norm:.4f}"))
    output.table(("input", "tokens#", f"{reply.dimensions} dimensions", "norm#"), rows)


def _show_cosines(texts: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
    output.write("\n")
    columns = vectors[:_SHOWN_COSINES]
    names = [f"{place}#" for place in range(1, len(columns) + 1)]
    rows = [
        (f"{place} {_short(text)}", *(f"{_cosine(left, right):.3f}" for right in columns))
        for place, (text, left) in enumerate(zip(texts, vectors, strict=True), start=1)
    ]
    output.table(("cosine", *names), rows)
    if len(columns) < len(vectors):
        output.note(f"{len(vectors) - len(columns)} more columns are not shown")


def _show_ranking(reply: RankResponse) -> None:
    highest = max((each.score for each in reply.documents), default=1.0)
    rows = [
        (
            f"{each.index}",
            f"{each.score:.4f}",
            Text(output.bar(max(each.score, 0.0) / max(highest, 1e-9), width=12), style="cyan"),
            each.text,
        )
        for each in reply.documents
    ]
    output.table(("index#", "score#", "", "document"), rows)


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return product / max(math.sqrt(sum(a * a for a in left) * sum(b * b for b in right)), 1e-12)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_LETTERS else line[: _SHOWN_LETTERS - 1] + "…"
