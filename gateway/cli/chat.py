"""``pequod chat``: a conversation on the terminal, by the model's own chat template."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.connection import connect
from gateway.cli.text import Adapter, MaxTokens, Model, Seed, Temperature, TopP
from pequod.sampler.v1 import (
    CONTEXT_OVERFLOW_SLIDE,
    ChatMessage,
    ChatMessages,
    GenerateStreamRequest,
    Sampling,
    Stopping,
)


def chat(
    message: Annotated[str | None, typer.Argument(help="What to say; without it, each line typed.")] = None,
    model: Model = "",
    system: Annotated[str, typer.Option(help="What the model is told first.")] = "",
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    adapter: Adapter = "",
) -> None:
    """Talk to a model that has a chat template; one without is refused with the reason."""
    said = [ChatMessage(role="system", content=system)] if system else []
    with connect() as client:
        for line in [message] if message else _typed():
            said.append(ChatMessage(role="user", content=line))
            request = GenerateStreamRequest(
                model=model,
                chat=ChatMessages(messages=said),
                sampling=Sampling(temperature=temperature, top_p=top_p, seed=seed),
                stopping=Stopping(max_tokens=max_tokens),
                overflow=CONTEXT_OVERFLOW_SLIDE,
                adapter=adapter,
            )
            answer = ""
            for piece in client.sampler.GenerateStream(request):
                output.write(piece.text)
                answer += piece.text
            output.write("\n")
            said.append(ChatMessage(role="assistant", content=answer))


def _typed() -> Iterator[str]:
    """Lines of standard input that say something, after a sign that one is awaited."""
    while True:
        if sys.stdin.isatty():
            output.write("> ")
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
