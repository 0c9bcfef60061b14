"""From keyword arguments to a request for vectors, and from its reply to plain lists."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import TypedDict

from pequod.tokenizer.v1 import (
    TRUNCATION_END,
    TRUNCATION_REFUSE,
    VECTOR_FORMAT_FLOAT32_BYTES,
    EmbedInput,
    EmbedOptions,
    EmbedRequest,
    EmbedResponse,
)


class EmbedSettings(TypedDict, total=False):
    """Settings of ``embed``; ranges and defaults as in ``pequod.tokenizer.v1``."""

    model: str
    dimensions: int
    normalize: bool
    prompt: str
    """Name of a prefix in the model's configuration, such as "query"."""
    truncate: bool
    """Cut off the end of texts that are too long; they are refused otherwise."""


def embed_request(texts: Sequence[str], settings: EmbedSettings) -> EmbedRequest:
    """The request for the vectors of ``texts``. Raises TypeError naming unknown settings."""
    unknown = sorted(settings.keys() - EmbedSettings.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown settings: {', '.join(unknown)}")
    options = EmbedOptions(
        dimensions=settings.get("dimensions") or 0,
        normalize=settings.get("normalize"),
        prompt_name=settings.get("prompt") or "",
        truncation=TRUNCATION_END if settings.get("truncate") else TRUNCATION_REFUSE,
        format=VECTOR_FORMAT_FLOAT32_BYTES,
    )
    inputs = [EmbedInput(text=text) for text in texts]
    return EmbedRequest(model=settings.get("model") or "", inputs=inputs, options=options)


def vectors_of(reply: EmbedResponse) -> list[list[float]]:
    """The vectors of a reply in the order of the inputs."""
    return [_floats(each.data) for each in reply.embeddings]


def _floats(data: bytes) -> list[float]:
    numbers = array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
