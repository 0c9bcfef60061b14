"""Models at a path of this machine (``file:``): a Hugging Face directory, or one file of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from services.common.errors import Code, Reason, ServiceError, model_not_found
from services.common.store.directory import describe
from services.common.store.manifest import Kind, Manifest, ModelVersion, describe_files
from services.common.store.reference import Reference
from services.common.store.safety import word_vectors_header


class LocalFiles:
    """Paths inside ``roots``."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        # Hashing a file of some gigabytes takes seconds, so once for each change of it.
        self._described: dict[tuple[str, int, int], ModelVersion] = {}

    def describe(self, reference: Reference) -> ModelVersion:
        """The version that ``file:path`` stands for."""
        path = self._path(reference)
        name = f"file:{reference.path}"
        if path.is_dir():
            return describe(name, "", path, "file")
        status = path.stat()
        key = name, status.st_size, status.st_mtime_ns
        if key not in self._described:
            self._described[key] = _describe_word_vectors(name, path)
        return self._described[key]

    def folder(self, reference: Reference) -> tuple[Path, Path]:
        """The folder of the version's files, and the root that holds it."""
        path = self._path(reference)
        root = next(root for root in self._roots if path.is_relative_to(root.resolve()))
        return path if path.is_dir() else path.parent, root

    def _path(self, reference: Reference) -> Path:
        """Where the reference leads, when one of the roots holds it."""
        try:
            path = Path(reference.path).expanduser().resolve()
            there = path.exists()
        except (OSError, RuntimeError):  # a name too long, a user who is none, links in a circle
            raise model_not_found(f"file:{reference.path[:200]}", ()) from None
        if not any(path.is_relative_to(root.resolve()) for root in self._roots):
            allowed = ", ".join(str(root) for root in self._roots) or "none"
            raise ServiceError(
                Code.INVALID_ARGUMENT,
                Reason.UNSAFE_PATH,
                f"model: file:{reference.path} is outside the allowed folders ({allowed}); "
                "set PEQUOD_FILE_ROOTS",
            )
        if not there:
            raise model_not_found(f"file:{reference.path}", ())
        return path


def _describe_word_vectors(name: str, path: Path) -> ModelVersion:
    header = word_vectors_header(path)
    if header is None:
        raise ServiceError(
            Code.FAILED_PRECONDITION,
            Reason.UNSAFE_FORMAT,
            f"{name} is neither a Hugging Face directory nor a file of word vectors, which begins with a "
            "line of two numbers: words and dimensions",
        )
    files = describe_files(path.parent, [path.name])
    config: dict[str, JsonValue] = {"file": path.name, "words": header[0], "dimensions": header[1]}
    manifest = Manifest(
        name=name,
        version=files[0].sha256[:12],
        kind=Kind.WORD_VECTORS,
        family="word2vec",
        config=config,
        files=files,
        created=datetime.fromtimestamp(path.stat().st_mtime, UTC),
    )
    return ModelVersion(manifest, "file")
