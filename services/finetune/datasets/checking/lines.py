"""Lines of JSON as data sets hold them: texts, conversations, captions; read the same by check and jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.finetune.datasets.dataset import Problem

MOST_LINE = 4 * 2**20
"""Bytes of a line."""
ROLES = ("system", "user", "assistant", "tool")
CAPTION_FILES = ("captions.jsonl", "metadata.jsonl")
_FILE_KEYS = ("file", "file_name", "path", "image")
_CAPTION_KEYS = ("caption", "text")


class BadLine(ValueError):
    """A line that is not of the form its file asks for."""

    def __init__(self, message: str, problem: Problem = Problem.MALFORMED_LINE) -> None:
        super().__init__(message)
        self.problem = problem


@dataclass(frozen=True)
class Message:
    """A turn of a conversation."""

    role: str
    content: str


Conversation = tuple[Message, ...]


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1; of one that is too long only its beginning."""
    number = 0
    with file.open("rb") as opened:
        while line := opened.readline(MOST_LINE + 1):
            number += 1
            if len(line) > MOST_LINE:
                _skip_rest(opened)
            if line.strip():
                yield number, line


def text_of(line: bytes) -> str:
    """The field "text". Raises BadLine."""
    text = _object(line).get("text")
    if not isinstance(text, str) or not text.strip():
        raise BadLine('has no field "text" with a text in it')
    return _whole(text)


def conversation_of(line: bytes) -> Conversation:
    """The field "messages". Raises BadLine."""
    messages = _object(line).get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadLine('has no field "messages" with messages in it')
    conversation = tuple(_message(index, each) for index, each in enumerate(messages))
    if not any(message.role == "assistant" for message in conversation):
        raise BadLine("has no message of the assistant to learn from")
    return conversation


def caption_of(line: bytes) -> tuple[str, str]:
    """A picture's path as written, and its caption. Raises BadLine."""
    fields = _object(line)
    path = next((fields[key] for key in _FILE_KEYS if isinstance(fields.get(key), str)), "")
    caption = next((fields[key] for key in _CAPTION_KEYS if isinstance(fields.get(key), str)), "")
    if not path or not caption.strip():
        raise BadLine('has no fields "file" and "caption" with texts in them')
    return _whole(path), _whole(caption).strip()


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MOST_LINE:
        raise BadLine(f"has more than {MOST_LINE:,} bytes")
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadLine(f"is not UTF-8 at byte {error.start}", Problem.INVALID_UTF8) from None
    except (ValueError, RecursionError) as error:
        raise BadLine(f"is not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise BadLine("is no JSON object")
    return value


def _message(index: int, value: Any) -> Message:
    if not isinstance(value, dict):
        raise BadLine(f"messages[{index}] is no object")
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise BadLine(f"messages[{index}].role {str(role)[:40]!r} is none of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise BadLine(f"messages[{index}].content is no text")
    return Message(role, _whole(content))


def _whole(text: str) -> str:
    """JSON may spell half a character, which no encoding takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadLine("holds half of a surrogate pair") from None
    return text


def _skip_rest(opened: Any) -> None:
    while (more := opened.readline(MOST_LINE)) and not more.endswith(b"\n"):
        pass
