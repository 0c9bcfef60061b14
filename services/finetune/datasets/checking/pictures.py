"""Checks a data set of pictures: each one read, captions found, duplicates named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from PIL import Image

from services.common.pictures.reading import MOST_BYTES, Fault, PictureRefused, format_of, read_picture
from services.finetune.datasets.checking.hashing import sha256_of
from services.finetune.datasets.checking.items import (
    Findings,
    Item,
    UsedFile,
    format_name,
    suffix_of,
)
from services.finetune.datasets.checking.likeness import Likeness, look_at
from services.finetune.datasets.checking.lines import CAPTION_FILES, BadLine, caption_of, lines_of
from services.finetune.datasets.dataset import Problem, Role

LEAST_SIDE = 16
"""Pixels; a smaller picture has nothing that a network could learn."""
MOST_CAPTION = 64 * 1024
"""Bytes of a caption's file."""
SUFFIXES = frozenset({"png", "jpg", "jpeg", "webp"})

_PROBLEMS = {
    Fault.FORMAT: Problem.UNSUPPORTED_FORMAT,
    Fault.SIZE: Problem.TOO_LARGE,
    Fault.DAMAGED: Problem.CORRUPT,
}


@dataclass
class _Sizes:
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)


class Pictures:
    """Fed with one file after another; ``finish`` says what is used."""

    def __init__(self, findings: Findings, paths: Sequence[str]) -> None:
        """``paths``: of all files, by which captions are told from other texts."""
        self._findings = findings
        self._stems = {_stem(path) for path in paths if suffix_of(path) != "txt"}
        self._sizes = _Sizes()
        self._likeness = Likeness()
        self._pictures: dict[str, UsedFile] = {}
        self._by_hash: defaultdict[str, list[str]] = defaultdict(list)
        self._texts: list[tuple[UsedFile, str]] = []
        self._lists: list[tuple[UsedFile, list[tuple[int, str, str]]]] = []
        self.captions: dict[str, list[str]] = {}

    def add(self, item: Item) -> None:
        """Check one file."""
        if PurePosixPath(item.path).name in CAPTION_FILES:
            self._add_list(item)
        elif suffix_of(item.path) == "txt" and _stem(item.path) in self._stems:
            self._add_caption(item)
        else:
            self._add_picture(item)

    def finish(self) -> list[UsedFile]:
        """Give the pictures their captions, leave out what is there twice."""
        used = self._give_captions()
        for paths in self._by_hash.values():
            self._leave_out_copies(paths)
        for path in self._pictures:
            if not self.captions.get(path):
                self._findings.remark(path, Problem.NO_CAPTION, "has no caption")
        return [*self._pictures.values(), *used]

    @property
    def smallest(self) -> tuple[int, int]:
        """(narrowest width, lowest height) in pixels; zeros without pictures."""
        return min(self._sizes.widths, default=0), min(self._sizes.heights, default=0)

    @property
    def largest(self) -> tuple[int, int]:
        """(widest width, highest height) in pixels."""
        return max(self._sizes.widths, default=0), max(self._sizes.heights, default=0)

    def _add_picture(self, item: Item) -> None:
        if item.size_bytes > MOST_BYTES:
            self._findings.count_format(format_name(item.path))
            message = f"has {item.size_bytes:,} bytes, at most {MOST_BYTES:,}"
            self._findings.skip(item.path, Problem.TOO_LARGE, message)
            return
        data = item.file.read_bytes()
        self._findings.count_format(format_of(data) or format_name(item.path))
        try:
            pixels = read_picture(item.path, data)
        except PictureRefused as refused:
            self._findings.skip(item.path, _PROBLEMS[refused.fault], refused.description)
            return
        height, width = pixels.shape[:2]
        if min(width, height) < LEAST_SIDE:
            message = f"is {width} x {height} pixels, at least {LEAST_SIDE} a side"
            self._findings.skip(item.path, Problem.TOO_SMALL, message)
            return
        self._keep(item, Image.fromarray(pixels))

    def _keep(self, item: Item, picture: Image.Image) -> None:
        used = UsedFile(item, Role.PICTURE, sha256_of(item.file))
        self._pictures[item.path] = used
        same = self._by_hash[used.sha256]
        same.append(item.path)
        self._sizes.widths.append(picture.width)
        self._sizes.heights.append(picture.height)
        if len(same) == 1 and (other := self._likeness.like(item.path, look_at(picture))):
            message = f"looks nearly the same as {other}"
            self._findings.remark(item.path, Problem.NEAR_DUPLICATE, message, other)

    def _add_caption(self, item: Item) -> None:
        self._findings.count_format("txt")
        if item.size_bytes > MOST_CAPTION:
            message = f"has {item.size_bytes:,} bytes, a caption at most {MOST_CAPTION:,}"
            self._findings.skip(item.path, Problem.TOO_LARGE, message)
            return
        try:
            text = item.file.read_bytes().decode().strip()
        except UnicodeDecodeError as error:
            self._findings.skip(item.path, Problem.INVALID_UTF8, f"is not UTF-8 at byte {error.start}")
            return
        if not text:
            self._findings.skip(item.path, Problem.TOO_SMALL, "holds no caption")
            return
        self._texts.append((UsedFile(item, Role.CAPTION, sha256_of(item.file)), text))

    def _add_list(self, item: Item) -> None:
        self._findings.count_format("jsonl")
        folder = PurePosixPath(item.path).parent
        found: list[tuple[int, str, str]] = []
        for number, line in lines_of(item.file):
            try:
                path, caption = caption_of(line)
                found.append((number, str(folder / path), caption))
            except BadLine as bad:
                self._findings.bad_line(item.path, number, bad.problem, str(bad))
        self._lists.append((UsedFile(item, Role.CAPTIONS, sha256_of(item.file)), found))

    def _give_captions(self) -> list[UsedFile]:
        """The files of captions that some picture has."""
        by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for path in self._pictures:
            by_stem[_stem(path)].append(path)
        used = []
        for file, text in self._texts:
            for path in by_stem[_stem(file.item.path)]:
                self.captions.setdefault(path, []).append(text)
            if by_stem[_stem(file.item.path)]:
                used.append(file)
        for file, lines in self._lists:
            if self._give_listed(file, lines):
                used.append(file)
        return used

    def _give_listed(self, file: UsedFile, lines: list[tuple[int, str, str]]) -> bool:
        given = False
        for number, path, caption in lines:
            if path in self._pictures:
                self.captions.setdefault(path, []).append(caption)
                given = True
            elif path not in self._findings.skipped:
                message = f"names {path[:200]!r}, which is no picture of the data set"
                self._findings.bad_line(file.item.path, number, Problem.MALFORMED_LINE, message)
        return given

    def _leave_out_copies(self, paths: list[str]) -> None:
        """All but the first of each caption: the same picture with other words is another example."""
        first: dict[tuple[str, ...], str] = {}
        for path in paths:
            words = tuple(self.captions.get(path, ()))
            other = first.setdefault(words, path)
            if other != path:
                del self._pictures[path]
                message = f"is the same as {other}, to the byte"
                self._findings.skip(path, Problem.DUPLICATE, message, other)


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
