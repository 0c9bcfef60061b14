"""From keyword arguments to a request for text, the same for both clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from pequod.sampler.v1 import (
    GenerateRequest,
    GenerateStreamRequest,
    GenerateStreamResponse,
    NgramOptions,
    Sampling,
    Stopping,
)


class TextSettings(TypedDict, total=False):
    """Settings of ``text`` and ``stream_text``; ranges and defaults as in ``pequod.sampler.v1``."""

    model: str
    order: int
    """Symbols in a sequence, for n-gram models."""
    temperature: float
    top_k: int
    top_p: float
    seed: int
    max_tokens: int
    stop: Sequence[str]
    adapter: str


_SAMPLING = ("temperature", "top_k", "top_p", "seed")


def generate_request(prompt: str, settings: TextSettings) -> GenerateRequest:
    """The request for one completion of ``prompt``. Raises TypeError naming unknown settings."""
    unknown = sorted(settings.keys() - TextSettings.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown settings: {', '.join(unknown)}")
    given = {name: value for name, value in settings.items() if value is not None}
    request = GenerateRequest(
        model=settings.get("model") or "",
        prompt=prompt,
        sampling=Sampling(**{name: given[name] for name in _SAMPLING if name in given}),  # type: ignore[arg-type]
        stopping=Stopping(max_tokens=settings.get("max_tokens"), stop=settings.get("stop") or ()),
        adapter=settings.get("adapter") or "",
    )
    if "order" in given:
        request.ngram.CopyFrom(NgramOptions(order=settings["order"]))
    return request


def pieces_of(reply: GenerateStreamResponse) -> list[str]:
    """The text of one reply of a stream, when it has some."""
    return [reply.text] if reply.text else []


def generate_stream_request(prompt: str, settings: TextSettings) -> GenerateStreamRequest:
    """The same request for a stream: both messages have the same fields and numbers."""
    return GenerateStreamRequest.FromString(generate_request(prompt, settings).SerializeToString())
