"""Candidates of one training in its work folder: each a whole version, its record and previews beside it.

``candidates/000050/`` is the version, ``000050.json`` its record, ``000050-00.png`` the first preview. Each
appears whole or not at all, the record last: what has one was scored.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from services.finetune.recipes.candidates.ranking import beyond
from services.finetune.recipes.watching import Better, Candidate, Preview, Score

FOLDER = "candidates"
_WRITING = ".writing/candidate"
"""A version is named by its folders; this name is provisional."""


class Candidates:
    """Those of one work folder."""

    def __init__(self, work: Path) -> None:
        self._home = work / FOLDER
        self._home.mkdir(parents=True, exist_ok=True)

    def path(self, step: int) -> Path:
        """The version's folder, whether it is there or not."""
        return self._home / f"{step:06d}"

    def write(self, step: int, make: Callable[[Path], None]) -> Path:
        """The folder of the version that ``make`` writes. One that is there already stays as it is.

        Raises what ``make`` does, and OSError where the disk is full; nothing is left then.
        """
        folder = self.path(step)
        if not folder.exists():
            partial = self._home / _WRITING / folder.name
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with _disk_errors(), _gone_if_broken(partial):
                make(partial)
                partial.rename(folder)
        return folder

    def note(self, candidate: Candidate) -> None:
        """Keep its scores and previews."""
        previews = []
        for number, preview in enumerate(candidate.previews):
            file = self._home / f"{candidate.step:06d}-{number:02d}.png" if preview.image else None
            if file is not None:
                _write(file, preview.image)
            told = {"prompt": preview.prompt, "seed": preview.seed, "text": preview.text}
            previews.append(told | {"file": file.name if file is not None else ""})
        record = {"step": candidate.step, "scores": [asdict(each) for each in candidate.scores]}
        text = json.dumps(record | {"previews": previews}, indent=2)
        _write(self._record(candidate.step), text.encode())

    def find(self, step: int) -> Candidate | None:
        """The one of a step, if it was noted."""
        file = self._record(step)
        return self._read(json.loads(file.read_text())) if file.exists() else None

    def all(self) -> list[Candidate]:
        """Those noted, in the order of their steps; the folders of some may be gone."""
        files = sorted(self._home.glob("[0-9]*.json"))
        every = [self._read(json.loads(file.read_text())) for file in files]
        return sorted(every, key=lambda each: each.step)

    def tidy(self, keep: int) -> None:
        """Remove the versions of all but the best ``keep``, 0: of none; records and previews stay."""
        for step in beyond(self.all(), keep) if keep else ():
            shutil.rmtree(self.path(step), ignore_errors=True)

    def _record(self, step: int) -> Path:
        return self._home / f"{step:06d}.json"

    def _read(self, record: Mapping[str, Any]) -> Candidate:
        scores = [replace(Score(**each), better=Better(each["better"])) for each in record["scores"]]
        previews = [
            Preview(
                each["prompt"],
                each["seed"],
                (self._home / each["file"]).read_bytes() if each["file"] else b"",
                each["text"],
            )
            for each in record["previews"]
        ]
        return Candidate(record["step"], self.path(record["step"]), tuple(scores), tuple(previews))


@contextlib.contextmanager
def _gone_if_broken(folder: Path) -> Iterator[None]:
    """Room on a full disk is for others."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """safetensors has an error of its own for what a disk says."""
    try:
        yield
    except SafetensorError as error:
        if (found := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number)) from error


def _write(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(file)
