"""Texts and pictures in one space."""

from __future__ import annotations

from functools import partial

from gateway.caller import Caller
from gateway.kserve import pictures
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.embedding import IMAGE, MOST_INPUTS, TEXT, embed, texts_of, vectors
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.request import Outcome
from pequod.tokenizer.v1 import EmbedInput
from services.common.errors import invalid


def opened(served: Served) -> Kind:
    """Either ``text`` or ``image``, of RGB, is required."""
    inputs = (
        TensorSpec(TEXT, "BYTES", (FREE,), optional=True, most=MOST_INPUTS),
        TensorSpec(IMAGE, "UINT8", (FREE, FREE, FREE, 3), optional=True, most=MOST_INPUTS),
        *settings(dimensions="INT32", normalize="BOOL", truncate="BOOL"),
    )
    outputs = (vectors(served.size("projection_dim")),)
    return Kind(Description(served.platform, inputs, outputs), partial(_infer, served))


async def _infer(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    if (TEXT in inputs) == (IMAGE in inputs):
        raise invalid(f"inputs.{TEXT}", f"either {TEXT} or {IMAGE} is required")
    if TEXT in inputs:
        return await embed(served, inputs, texts_of(inputs), caller)
    given = [EmbedInput(image=each) for each in await pictures.written(inputs.array(IMAGE))]
    return await embed(served, inputs, given, caller)
