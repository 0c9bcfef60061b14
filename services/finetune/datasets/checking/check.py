"""The check of a data set, from the files that came to the report and the files that are used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from services.common.pictures.reading import format_of
from services.finetune.datasets.checking.archives import Unpacker, is_archive
from services.finetune.datasets.checking.items import (
    Advance,
    Findings,
    Item,
    UsedFile,
    format_name,
    suffix_of,
)
from services.finetune.datasets.checking.lines import CAPTION_FILES, BadLine, conversation_of, lines_of
from services.finetune.datasets.checking.pictures import SUFFIXES, Pictures
from services.finetune.datasets.checking.texts import Texts
from services.finetune.datasets.dataset import BadFiles, Kind, Problem, Progress, Report, Role

_LOOKED_AT = 20
"""Lines of a .jsonl file that decide what it holds."""


@dataclass(frozen=True)
class Tokens:
    """Counts tokens by an encoding; ``name`` is its reference."""

    name: str
    count: Callable[[str], int]


@dataclass(frozen=True)
class Wanted:
    """What the caller said. ``reserve`` is asked for bytes to unpack into, and may raise."""

    kind: Kind
    bad_files: BadFiles
    reserve: Callable[[int], None]


@dataclass(frozen=True)
class Outcome:
    """``refused``: why nothing is kept; empty when ``used`` is."""

    kind: Kind
    report: Report
    used: Sequence[UsedFile]
    refused: str = ""


def check(items: Sequence[Item], work: Path, wanted: Wanted, tokens: Tokens, advance: Advance) -> Outcome:
    """Unpack into ``work`` (made anew), look at every file, say what is used."""
    findings = Findings()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    files = _unpacked(items, Unpacker(work, findings, wanted.reserve, advance), findings)
    came = len(files) + len(findings.skipped)
    outcome = _checked(wanted.kind or _kind_of(files), files, findings, tokens, advance)
    report = outcome.report.model_copy(
        update={
            "files": came,
            "skipped_files": len(findings.skipped),
            "size_bytes": sum(each.item.size_bytes for each in outcome.used),
            "formats": dict(findings.formats),
            "duplicates": findings.duplicates,
            "issues": tuple(findings.issues),
            "issue_count": findings.issue_count,
        }
    )
    return _judged(replace(outcome, report=report), wanted, findings)


def _unpacked(items: Sequence[Item], unpacker: Unpacker, findings: Findings) -> list[Item]:
    """Every file in place of its archive; a path that is there twice counts once."""
    files: dict[str, Item] = {}
    for item in items:
        inside = unpacker.unpack(item) if item.size_bytes and is_archive(item.file) else [item]
        for each in inside:
            if files.setdefault(each.path, each) is not each:
                name = f"{item.path}{each.path.removeprefix(item.path.removesuffix('.zip'))}"
                findings.skip(name, Problem.DUPLICATE, f"another file is {each.path}", each.path)
    return [files[path] for path in sorted(files)]


def _checked(
    kind: Kind, files: Sequence[Item], findings: Findings, tokens: Tokens, advance: Advance
) -> Outcome:
    if kind is Kind.UNKNOWN:
        return _unknown(files, findings)
    if kind is Kind.IMAGES:
        return _pictures(files, findings, tokens, advance)
    return _texts(kind, files, findings, tokens, advance)


def _kind_of(files: Sequence[Item]) -> Kind:
    """Pictures where there is one; else conversations where a line holds one; else texts."""
    if any(_is_picture(item) for item in files):
        return Kind.IMAGES
    suffixes = {suffix_of(item.path) for item in files}
    if any(_has_conversation(item) for item in files if suffix_of(item.path) == "jsonl"):
        return Kind.CHAT
    return Kind.TEXT if suffixes & {"txt", "md", "jsonl"} else Kind.UNKNOWN


def _is_picture(item: Item) -> bool:
    if suffix_of(item.path) in SUFFIXES:
        return True
    with item.file.open("rb") as file:
        return format_of(file.read(16)) != ""


def _has_conversation(item: Item) -> bool:
    if item.path.rpartition("/")[2] in CAPTION_FILES:
        return False
    for _, line in islice(lines_of(item.file), _LOOKED_AT):
        try:
            conversation_of(line)
        except BadLine:
            continue
        return True
    return False


def _pictures(files: Sequence[Item], findings: Findings, tokens: Tokens, advance: Advance) -> Outcome:
    pictures = Pictures(findings, [item.path for item in files])
    for done, item in enumerate(files):
        advance(Progress(completed=done, total=len(files), message="checking"))
        pictures.add(item)
    used = pictures.finish()
    shown = [each.item.path for each in used if each.role is Role.PICTURE]
    captions = [text for path in shown for text in pictures.captions.get(path, ())]
    (min_width, min_height), (max_width, max_height) = pictures.smallest, pictures.largest
    report = Report(
        examples=len(shown),
        captions_missing=sum(not pictures.captions.get(path) for path in shown),
        tokens=sum(map(tokens.count, captions)),
        token_encoding=tokens.name,
        min_width=min_width,
        min_height=min_height,
        max_width=max_width,
        max_height=max_height,
    )
    return Outcome(Kind.IMAGES, report, used)


def _texts(
    kind: Kind, files: Sequence[Item], findings: Findings, tokens: Tokens, advance: Advance
) -> Outcome:
    texts = Texts(findings, kind, tokens.count, advance)
    for done, item in enumerate(files):
        advance(Progress(completed=done, total=len(files), message="checking"))
        texts.add(item)
    report = Report(examples=texts.examples, tokens=texts.tokens, token_encoding=tokens.name)
    return Outcome(kind, report, texts.used)


def _unknown(files: Sequence[Item], findings: Findings) -> Outcome:
    for item in files:
        findings.count_format(format_name(item.path))
        message = "is neither a picture nor a text: .png, .jpg, .webp, .txt, .md or .jsonl"
        findings.skip(item.path, Problem.UNSUPPORTED_FORMAT, message)
    return Outcome(Kind.UNKNOWN, Report(), ())


def _judged(outcome: Outcome, wanted: Wanted, findings: Findings) -> Outcome:
    """Refuse what holds nothing, or, for a strict caller, anything that cannot be used."""
    refusals = findings.refusals
    if wanted.bad_files is BadFiles.REFUSE and refusals:
        first, others = refusals[0], len({issue.path for issue in refusals}) - 1
        line = f", line {first.line}," if first.line else ""
        more = f"; {others} more files cannot be used" if others else ""
        return Outcome(outcome.kind, outcome.report, (), f"{first.path}{line} {first.message}{more}")
    if not outcome.report.examples:
        return Outcome(outcome.kind, outcome.report, (), _nothing(outcome.kind, outcome.report))
    return outcome


def _nothing(kind: Kind, report: Report) -> str:
    wanted = {Kind.IMAGES: "pictures", Kind.TEXT: "texts", Kind.CHAT: "conversations"}
    what = wanted.get(kind, "pictures, texts or conversations")
    first = next((issue for issue in report.issues if issue.skipped), None)
    why = f"; {first.path} {first.message}" if first else ""
    return f"no {what} that could be used among {report.files} files{why}"
