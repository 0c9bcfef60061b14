"""Files to check, and what is found on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from services.finetune.datasets.dataset import MOST_ISSUES, Issue, Problem, Progress, Role

Advance = Callable[[Progress], None]
"""Told how far the work is; what it raises ends the work."""

MOST_PATH = 1024
"""Bytes of a path in UTF-8."""
_MOST_LINES = 100
"""Issues about lines that are listed of one file; the others are counted."""
_MOST_FORMATS = 32


@dataclass(frozen=True)
class Item:
    """A file by its path in the data set, and where its bytes lie."""

    path: str
    file: Path
    size_bytes: int


@dataclass(frozen=True)
class UsedFile:
    """A file that is to be kept."""

    item: Item
    role: Role
    sha256: str


@dataclass
class Findings:
    """Issues and counts of one check."""

    issues: list[Issue] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    skipped: set[str] = field(default_factory=set)
    refusals: list[Issue] = field(default_factory=list)
    """Those for which a strict caller wants nothing of the data set."""
    lines: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    _named: set[str] = field(default_factory=set)

    @property
    def issue_count(self) -> int:
        """Files with something wrong."""
        return len(self._named)

    def skip(self, path: str, problem: Problem, message: str, other: str = "") -> None:
        """The file is left out."""
        issue = Issue(path=path, problem=problem, message=message, skipped=True, other_path=other)
        self.skipped.add(path)
        if problem is Problem.DUPLICATE:
            self.duplicates += 1  # it is there, once: no reason to refuse anything
        else:
            self.refusals.append(issue)
        self._note(issue)

    def remark(self, path: str, problem: Problem, message: str, other: str = "") -> None:
        """The file is used all the same."""
        self._note(Issue(path=path, problem=problem, message=message, other_path=other))

    def bad_line(self, path: str, line: int, problem: Problem, message: str) -> None:
        """The line is left out; ``line`` counts from 1."""
        self.lines[path] += 1
        if self.lines[path] <= _MOST_LINES:
            issue = Issue(path=path, problem=problem, message=message, line=line)
            self.refusals.append(issue)
            self._note(issue)

    def count_format(self, name: str) -> None:
        """A file of this format came; a name beyond the first ones counts as "other"."""
        known = name in self.formats or len(self.formats) < _MOST_FORMATS
        self.formats[name if known else "other"] += 1

    def _note(self, issue: Issue) -> None:
        self._named.add(issue.path)
        if len(self.issues) < MOST_ISSUES:
            self.issues.append(issue)


def unsafe_path(path: str) -> str:
    """Why ``path`` may not be one inside a data set; "" when it may."""
    pure = PurePosixPath(path)
    if not path or str(pure) != path or path == ".":
        return "is no plain path with '/' between parts"
    if pure.is_absolute() or ".." in pure.parts:
        return "leaves the data set's folder"
    if "\\" in path or any(ord(symbol) < 32 or ord(symbol) == 127 for symbol in path):
        return "holds a backslash or a control character"
    if pure.parts[0].endswith(":"):
        return "names a drive"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    return f"has {size} bytes, at most {MOST_PATH}" if size > MOST_PATH else ""


def suffix_of(path: str) -> str:
    """The ending of a path in lower case, without its dot."""
    return PurePosixPath(path).suffix.lower().removeprefix(".")


def format_name(path: str) -> str:
    """What a file that is no picture counts as among the formats."""
    suffix = suffix_of(path)
    return suffix if suffix.isalnum() and suffix.isascii() and len(suffix) <= 8 else "other"
