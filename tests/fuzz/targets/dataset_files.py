"""Files of data sets: texts, conversations and captions; the first line is the file's name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from services.finetune.datasets.checking.items import unsafe_path
from services.finetune.datasets.dataset import BadFiles, Kind
from tests.fuzz.pictures import encoded
from tests.unit.finetune.checks import Checker

REFUSALS = ()
WORDS = (
    *rb"""
        "text" "messages" "role" "assistant" "content" "file" "caption" a.png captions.jsonl lines.jsonl
        a.txt a.md 1e400 [[[[[[
    """.split(),
    *(b"\\ud800", b"\n", b"\xff\xfe"),
)


def run(data: bytes) -> None:
    name, _, content = data.partition(b"\n")
    path = name.decode(errors="replace")
    if unsafe_path(path):
        return
    kinds = list(Kind)
    with tempfile.TemporaryDirectory() as folder:
        Checker(Path(folder))(
            {path: content, "a.png": encoded("PNG", side=16)},
            kinds[len(content) % len(kinds)],
            BadFiles.REFUSE if len(name) % 2 else BadFiles.SKIP,
        )


def seeds() -> Iterable[bytes]:
    chat = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    yield from (b"lines.jsonl\n" + chat * count for count in (1, 2, 3, 4))
    yield from (b"texts.jsonl\n" + b'{"text": "a"}\n' * count for count in (1, 2, 3, 4))
    yield b'captions.jsonl\n{"file": "a.png", "caption": "a square"}\n'
    yield from (b"a.txt\na square", b"b.md\n# A\n\ntext", b"b.txt\n\xff\xfe")
