"""Opens a READY data set for jobs: pictures with captions, texts, conversations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from services.finetune.datasets.checking.lines import (
    BadLine,
    Conversation,
    caption_of,
    conversation_of,
    lines_of,
    text_of,
)
from services.finetune.datasets.dataset import Dataset, Kind, Role, StoredFile
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import Content


@dataclass(frozen=True)
class PictureFile:
    """A picture by its path in the data set. ``file`` is read only; ``captions`` may be empty."""

    path: str
    file: Path
    captions: tuple[str, ...]


class DatasetReader:
    """The examples of one data set, in the order of their paths; what the check left out is left out."""

    def __init__(self, dataset: Dataset, files: Sequence[StoredFile], content: Content) -> None:
        self.dataset = dataset
        self._files = files
        self._content = content

    def pictures(self) -> list[PictureFile]:
        """Every picture. Raises ValueError for a data set of another kind."""
        self._must_be(Kind.IMAGES)
        captions = self._captions()
        return [
            PictureFile(file.path, self._open(file), tuple(captions[file.path]))
            for file in self._of(Role.PICTURE)
        ]

    def texts(self) -> Iterator[str]:
        """Every text, one document or line at a time. Raises ValueError for a data set of another kind."""
        self._must_be(Kind.TEXT)
        for file in self._of(Role.DOCUMENT, Role.RECORDS):
            if file.role is Role.DOCUMENT:
                yield self._open(file).read_bytes().decode()
                continue
            for _, line in lines_of(self._open(file)):
                try:
                    text = text_of(line)
                except BadLine:  # named in the report
                    continue
                yield text

    def conversations(self) -> Iterator[Conversation]:
        """Every conversation. Raises ValueError for a data set of another kind."""
        self._must_be(Kind.CHAT)
        for file in self._of(Role.RECORDS):
            for _, line in lines_of(self._open(file)):
                try:
                    conversation = conversation_of(line)
                except BadLine:
                    continue
                yield conversation

    def _captions(self) -> defaultdict[str, list[str]]:
        """By path of the picture, in the order in which the check counted them."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        by_stem: defaultdict[str, list[str]] = defaultdict(list)
        for picture in self._of(Role.PICTURE):
            by_stem[_stem(picture.path)].append(picture.path)
        for file in self._of(Role.CAPTION):
            text = self._open(file).read_bytes().decode().strip()
            for path in by_stem[_stem(file.path)]:
                found[path].append(text)
        for file in self._of(Role.CAPTIONS):
            for _, line in lines_of(self._open(file)):
                try:
                    path, caption = caption_of(line)
                except BadLine:
                    continue
                found[str(PurePosixPath(file.path).parent / path)].append(caption)
        return found

    def _of(self, *roles: Role) -> list[StoredFile]:
        return [file for file in self._files if file.role in roles]

    def _open(self, file: StoredFile) -> Path:
        return self._content.fetch(self.dataset.tenant, file.sha256)

    def _must_be(self, kind: Kind) -> None:
        if self.dataset.kind is not kind:
            raise ValueError(f"data set {self.dataset.dataset_id} holds {self.dataset.kind}, not {kind}")


def open_dataset(records: DatasetRecords, content: Content, tenant: str, dataset_id: str) -> DatasetReader:
    """Raises NOT_FOUND, or FAILED_PRECONDITION for a data set that is not READY."""
    dataset, files = records.files(tenant, dataset_id)
    return DatasetReader(dataset, files, content)


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
