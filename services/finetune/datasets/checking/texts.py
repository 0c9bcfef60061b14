"""Checks a data set of texts or conversations: each line read, tokens counted, copies left out."""

from __future__ import annotations

from collections.abc import Callable

from services.finetune.datasets.checking.hashing import sha256_of
from services.finetune.datasets.checking.items import (
    Advance,
    Findings,
    Item,
    UsedFile,
    format_name,
    suffix_of,
)
from services.finetune.datasets.checking.lines import BadLine, conversation_of, lines_of, text_of
from services.finetune.datasets.dataset import Kind, Problem, Progress, Role

MOST_DOCUMENT = 64 * 2**20
"""Bytes of a plain text, which is one example."""
DOCUMENTS = frozenset({"txt", "md"})
RECORDS = "jsonl"
_BREATH = 1000
"""Lines after which a stop is noticed."""


class Texts:
    """Fed with one file after another."""

    def __init__(self, findings: Findings, kind: Kind, count: Callable[[str], int], advance: Advance) -> None:
        """``count``: tokens of a text."""
        self._findings = findings
        self._kind = kind
        self._count = count
        self._advance = advance
        self._seen: dict[str, str] = {}
        self.used: list[UsedFile] = []
        self.examples = 0
        self.tokens = 0

    def add(self, item: Item) -> None:
        """Check one file."""
        self._findings.count_format(format_name(item.path))
        suffix = suffix_of(item.path)
        if suffix == RECORDS:
            self._add_records(item)
        elif suffix in DOCUMENTS and self._kind is Kind.TEXT:
            self._add_document(item)
        else:
            takes = ".jsonl" if self._kind is Kind.CHAT else ".txt, .md and .jsonl"
            message = f"is no file of {self._kind.value}, which takes {takes}"
            self._findings.skip(item.path, Problem.UNSUPPORTED_FORMAT, message)

    def _add_document(self, item: Item) -> None:
        if item.size_bytes > MOST_DOCUMENT:
            message = f"has {item.size_bytes:,} bytes, at most {MOST_DOCUMENT:,}; split it"
            self._findings.skip(item.path, Problem.TOO_LARGE, message)
            return
        data = item.file.read_bytes()
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            message = f"is not UTF-8 at byte {error.start}, line {line}"
            self._findings.skip(item.path, Problem.INVALID_UTF8, message)
            return
        if not text.strip():
            self._findings.skip(item.path, Problem.TOO_SMALL, "holds no text")
            return
        if self._keep(item, Role.DOCUMENT):
            self.examples += 1
            self.tokens += self._count(text)

    def _add_records(self, item: Item) -> None:
        examples = tokens = 0
        for number, line in lines_of(item.file):
            if number % _BREATH == 0:
                self._advance(Progress(message=f"{item.path}, line {number}"))
            try:
                tokens += sum(self._count(text) for text in self._texts_of(line))
                examples += 1
            except BadLine as bad:
                self._findings.bad_line(item.path, number, bad.problem, str(bad))
        if not examples:
            what = "conversation" if self._kind is Kind.CHAT else "text"
            self._findings.skip(item.path, Problem.UNSUPPORTED_FORMAT, f"has no line with a {what}")
        elif self._keep(item, Role.RECORDS):
            self.examples += examples
            self.tokens += tokens

    def _texts_of(self, line: bytes) -> list[str]:
        if self._kind is Kind.CHAT:
            return [message.content for message in conversation_of(line)]
        return [text_of(line)]

    def _keep(self, item: Item, role: Role) -> bool:
        """Whether the file is used: no other has the same bytes."""
        used = UsedFile(item, role, sha256_of(item.file))
        other = self._seen.setdefault(used.sha256, item.path)
        if other != item.path:
            message = f"is the same as {other}, to the byte"
            self._findings.skip(item.path, Problem.DUPLICATE, message, other)
            return False
        self.used.append(used)
        return True
