"""The kept corpus: for each target a text file with an input a line, in base64, the shortest first.

``corpus/TARGET.txt`` is what adds coverage, written anew by each merge; ``corpus/findings/TARGET.txt`` holds
inputs that once were findings, and stays.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

MOST = 12 * 1024
"""Bytes of what a target keeps for its coverage."""
_FOLDER = Path(__file__).parent / "corpus"


def inputs(name: str) -> list[bytes]:
    """Everything that is kept of a target."""
    return [*findings(name), *_read(_FOLDER / f"{name}.txt")]


def findings(name: str) -> list[bytes]:
    """Inputs that once were findings."""
    return _read(_FOLDER / f"findings/{name}.txt")


def keep(name: str, found: Iterable[bytes]) -> int:
    """Write the shortest of ``found`` that there is room for; how many those are."""
    lines: list[bytes] = []
    size = 0
    for data in sorted(set(found), key=lambda each: (len(each), each)):
        line = base64.b64encode(data) + b"\n"
        size += len(line)
        if size > MOST:
            break
        lines.append(line)
    _FOLDER.mkdir(exist_ok=True)
    (_FOLDER / f"{name}.txt").write_bytes(b"".join(lines))
    return len(lines)


def _read(file: Path) -> list[bytes]:
    return [base64.b64decode(line) for line in file.read_text().split("\n") if line] if file.exists() else []
