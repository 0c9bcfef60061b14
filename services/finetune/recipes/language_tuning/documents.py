"""What a language model is tuned on: texts, and conversations of which the assistant's turns are learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.finetune.datasets.checking.lines import (
    BadLine,
    Conversation,
    conversation_of,
    lines_of,
    text_of,
)

SUFFIXES = frozenset({".txt", ".md", ".jsonl"})
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
"""How conversations are rendered where a model's tokenizer has no template of its own."""

Span = tuple[int, int]
"""Of characters: from, to."""


@dataclass(frozen=True)
class Document:
    """A text, and what of it is learnt."""

    text: str
    spans: tuple[Span, ...]
    opening: str
    """What a preview may begin with."""
    is_chat: bool = False


def read_documents(path: Path, tokenizer: Any, warn: Callable[[str], None]) -> list[Document]:
    """Those of a file, or of all files below a folder, by path.

    A line of JSON has a field "text" or "messages"; lines that have neither are left out, and ``warn`` told
    how many. Raises ValueError where nothing is left.
    """
    files = sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]
    found = [each for file in files if file.suffix in SUFFIXES for each in _read(file, tokenizer, warn)]
    if not found:
        raise ValueError(f'{path} holds no text: .txt, .md, or .jsonl with "text" or "messages"')
    return found


def of_text(text: str) -> Document:
    """All of it is learnt."""
    return Document(text, ((0, len(text)),), " ".join(text.split()[:8]))


def of_conversation(conversation: Conversation, tokenizer: Any) -> list[Document]:
    """The conversation as the model's template renders it.

    One document, or, with templates that render turns otherwise once others follow, one for each turn of the
    assistant. Raises ValueError with the template's own words where it refuses.
    """
    turns = [{"role": each.role, "content": each.content} for each in conversation]
    places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    rendered = [_turn(turns, place, tokenizer) for place in places]
    opening = _render(tokenizer, turns[: places[0]], True)
    whole = rendered[-1][0]
    if all(whole.startswith(text) for text, _ in rendered):
        return [Document(whole, tuple(span for _, span in rendered), opening, is_chat=True)]
    return [Document(text, (span,), opening, is_chat=True) for text, span in rendered]


def question(text: str, tokenizer: Any) -> str:
    """A user's first message, as the model's template renders it before the answer. Raises ValueError."""
    return _render(tokenizer, [{"role": "user", "content": text}], True)


def _turn(turns: Sequence[dict[str, str]], place: int, tokenizer: Any) -> tuple[str, Span]:
    """(the conversation up to an assistant's turn, where that is in it, its end token included)."""
    asked = _render(tokenizer, turns[:place], True)
    text = _render(tokenizer, turns[: place + 1], False)
    same = next(
        (at for at, (one, other) in enumerate(zip(asked, text, strict=False)) if one != other),
        min(len(asked), len(text)),
    )
    return text, (same, len(text))


def _render(tokenizer: Any, turns: Sequence[dict[str, str]], asks: bool) -> str:
    template = None if tokenizer.chat_template else PLAIN_TEMPLATE
    try:
        text: str = tokenizer.apply_chat_template(
            list(turns), chat_template=template, tokenize=False, add_generation_prompt=asks
        )
    except Exception as error:  # whatever a template raises
        raise ValueError(f"the chat template refuses a conversation: {error}") from None
    return text


def _read(file: Path, tokenizer: Any, warn: Callable[[str], None]) -> Iterator[Document]:
    if file.suffix != ".jsonl":
        text = file.read_text(encoding="utf-8")
        if text.strip():
            yield of_text(text)
        return
    bad: list[str] = []
    for number, line in lines_of(file):
        try:
            yield from _of_line(line, tokenizer)
        except ValueError as error:
            bad.append(f"line {number} {error}")
    if bad:
        warn(f"left out of {file.name}: {len(bad)} lines; {bad[0]}")


def _of_line(line: bytes, tokenizer: Any) -> list[Document]:
    """Raises ValueError."""
    try:
        return [of_text(text_of(line))]
    except BadLine:
        return of_conversation(conversation_of(line), tokenizer)
