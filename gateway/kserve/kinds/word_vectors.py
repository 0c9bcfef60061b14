"""Word vectors: words, or words whose vectors are averaged, to vectors."""

from __future__ import annotations

from functools import partial

from gateway.caller import Caller
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.embedding import MOST_INPUTS, TEXT, embed, texts_of, vectors
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.request import Outcome


def opened(served: Served) -> Kind:
    """``text`` holds a word, or several, in each row."""
    inputs = (
        TensorSpec(TEXT, "BYTES", (FREE,), most=MOST_INPUTS),
        *settings(dimensions="INT32", normalize="BOOL"),
    )
    outputs = (vectors(served.size("dimensions")),)
    return Kind(Description(served.platform, inputs, outputs), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    return await embed(served, inputs, texts_of(inputs), caller)
