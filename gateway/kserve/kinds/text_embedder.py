"""A sentence embedder: texts, or token ids, to vectors."""

from __future__ import annotations

from functools import partial

from gateway.caller import Caller
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.embedding import IDS, MOST_INPUTS, TEXT, embed, texts_of, vectors
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.request import Outcome
from gateway.kserve.tensors import Array
from gateway.kserve.weighing import weighed
from pequod.common.v1 import TokenIds
from pequod.tokenizer.v1 import EmbedInput
from services.common.errors import invalid


def opened(served: Served) -> Kind:
    """Either ``text`` or ``ids`` is required; a row of ids ends at its first number below 0."""
    inputs = (
        TensorSpec(TEXT, "BYTES", (FREE,), optional=True, most=MOST_INPUTS),
        TensorSpec(IDS, "INT64", (FREE, FREE), optional=True, most=MOST_INPUTS),
        *settings(dimensions="INT32", normalize="BOOL", truncate="BOOL", prompt_name="BYTES"),
    )
    width = served.size("hidden_size", "dim")
    return Kind(Description(served.platform, inputs, (vectors(width),)), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    if (TEXT in inputs) == (IDS in inputs):
        raise invalid(f"inputs.{TEXT}", f"either {TEXT} or {IDS} is required")
    if TEXT in inputs:
        return await embed(served, inputs, texts_of(inputs), caller)
    rows = inputs.array(IDS)
    given = await weighed(rows.size, _of_ids, rows)
    return await embed(served, inputs, given, caller)


def _of_ids(rows: Array) -> list[EmbedInput]:
    if rows.max() >= 2**32:
        raise invalid(f"inputs.{IDS}", f"{rows.max()} is no token id")
    ends = [int((row < 0).argmax()) if (row < 0).any() else len(row) for row in rows]
    return [EmbedInput(ids=TokenIds(ids=row[:end].tolist())) for row, end in zip(rows, ends, strict=True)]
