"""Zip archives of data sets: unpacked, and every file in them checked."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from services.finetune.datasets.dataset import Kind
from tests.fuzz.pictures import png
from tests.unit.finetune.checks import Checker

REFUSALS = ()
WORDS = (
    *rb"""a.png ../a /etc/a a.jsonl""".split(),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"\\"),
)
_MOST = 1 << 20


class Full(Exception):
    """There is no room for what an archive unpacks to."""


def run(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder, "check")
        inside.mkdir()
        try:
            Checker(inside)({"a.zip": data}, Kind.UNKNOWN, reserve=_room)
        except Full:
            return
        assert list(Path(folder).iterdir()) == [inside], "something was written outside"


def _room(size: int) -> None:
    if size > _MOST:
        raise Full


def seeds() -> Iterable[bytes]:
    yield _zip({"a.png": png(), "a.txt": b"a red square"})
    yield _zip({"lines.jsonl": b'{"text": "a"}\n', "b/c.md": b"# a"}, zipfile.ZIP_STORED)
    yield _zip({"../a.txt": b"a", "/etc/a.txt": b"a", "c:/a.txt": b"b"})
    yield _zip({"in.zip": _zip({"a.txt": b"a"})})
    yield _zip({})


def _zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()
