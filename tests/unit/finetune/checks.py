"""The check by itself, with files given as a mapping from paths to bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from services.finetune.datasets.checking.check import Outcome, Tokens, Wanted, check
from services.finetune.datasets.checking.items import Item
from services.finetune.datasets.dataset import BadFiles, Kind, Problem, Progress

WORDS = Tokens("words:1", lambda text: len(text.split()))


def nothing(progress: Progress) -> None:
    """Nobody watches."""


def any_size(size: int) -> None:
    """There is room for everything."""


class Checker:
    """Checks files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(
        self,
        files: Mapping[str, bytes],
        kind: Kind = Kind.UNKNOWN,
        bad_files: BadFiles = BadFiles.SKIP,
        reserve: Callable[[int], None] = any_size,
    ) -> Outcome:
        items = []
        for index, (path, data) in enumerate(files.items()):
            part = self._folder / f"part-{index}"
            part.write_bytes(data)
            items.append(Item(path, part, len(data)))
        wanted = Wanted(kind, bad_files, reserve)
        return check(items, self._folder / "unpacked", wanted, WORDS, nothing)


def used(outcome: Outcome) -> list[str]:
    return sorted(each.item.path for each in outcome.used)


def issues(outcome: Outcome) -> dict[str, Problem]:
    return {issue.path: issue.problem for issue in outcome.report.issues}
