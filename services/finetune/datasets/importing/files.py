"""file:// - a file or folder of this machine, inside the folders that the operator allows."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import SplitResult, unquote

from services.finetune.datasets.importing.source import Got, SourceFailed, SourceFile, unsafe

_CHUNK = 1 << 20


class FileSource:
    """Links are followed as far as they stay inside ``roots``; hidden files are left alone."""

    def __init__(self, uri: SplitResult, roots: Sequence[Path]) -> None:
        """Raises INVALID_ARGUMENT, reason UNSAFE_PATH, for a path outside ``roots``."""
        if uri.netloc not in {"", "localhost"}:
            raise unsafe(f"file://{uri.netloc} is another machine; write file:///PATH")
        self._roots = [root.expanduser().resolve() for root in roots]
        try:
            self._path = Path(unquote(uri.path)).resolve()
        except (OSError, RuntimeError):
            raise unsafe(f"{uri.path[:100]!r} is no path") from None
        if not self._inside(self._path):
            allowed = ", ".join(str(root) for root in roots) or "none"
            raise unsafe(
                f"{uri.path[:100]!r} is outside the allowed folders ({allowed}); set PEQUOD_FILE_ROOTS"
            )

    def list(self) -> Sequence[SourceFile]:
        """The file, or every file below the folder."""
        if self._path.is_file():
            return [SourceFile(self._path.name, self._path.stat().st_size, str(self._path))]
        if not self._path.is_dir():
            raise SourceFailed(f"{self._path} is not there")
        return sorted(self._below(), key=lambda file: file.path)

    def fetch(self, file: SourceFile, target: Path, got: Got) -> None:
        """Copy it; a link that was moved outside meanwhile is refused."""
        done = 0
        try:
            with self._opened(file.place) as source, target.open("wb") as copy:
                while chunk := source.read(_CHUNK):
                    done += len(chunk)
                    got(done)
                    copy.write(chunk)
        except OSError as error:
            raise SourceFailed(f"{file.path}: {error.strerror or error}") from None

    def _opened(self, place: str) -> BinaryIO:
        # Where the descriptor leads, not where the name did a moment ago; never waits for a pipe's writer.
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        link = Path(f"/proc/self/fd/{descriptor}")  # Linux has it
        real = (link if link.exists() else Path(place)).resolve()
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not self._inside(real):
            os.close(descriptor)
            raise SourceFailed(f"{place} is no file inside the allowed folders")
        return os.fdopen(descriptor, "rb")

    def _below(self) -> Iterator[SourceFile]:
        for folder, names, files in os.walk(self._path):
            names[:] = [name for name in names if not name.startswith(".")]
            for name in files:
                path = Path(folder, name)
                if name.startswith(".") or not path.is_file() or not self._inside(path.resolve()):
                    continue
                relative = path.relative_to(self._path).as_posix()
                yield SourceFile(relative, path.stat().st_size, str(path))

    def _inside(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)
