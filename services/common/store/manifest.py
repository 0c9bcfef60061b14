"""``model.json``: what a model version is, its files with their hashes, and where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from services.common.errors import Code, Reason, ServiceError
from services.common.store.reference import check_path

MANIFEST_NAME = "model.json"


class Kind(StrEnum):
    """What a model is for; the values of ``pequod.model.v1.ModelKind`` in lower case."""

    ENCODING = "encoding"
    NGRAM = "ngram"
    WORD_VECTORS = "word_vectors"
    LANGUAGE_MODEL = "language_model"
    TEXT_EMBEDDER = "text_embedder"
    TEXT_IMAGE_EMBEDDER = "text_image_embedder"
    RERANKER = "reranker"
    DIFFUSION = "diffusion"
    UPSCALER = "upscaler"
    GAN = "gan"
    ADAPTER = "adapter"
    CLASSIFIER = "classifier"


class _Frozen(BaseModel):
    # NaN and infinity have no JSON, so a digest over them would change with the first reading.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileEntry(_Frozen):
    """One file of a version, by its path inside the version's folder."""

    path: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        return check_path(path)


class TensorSpec(_Frozen):
    """A tensor of an exported graph; -1 stands for a free size, ``dtype`` is numpy's name."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Manifest(_Frozen):
    """A model version. Immutable once published; its digest covers every field."""

    name: str
    version: str
    kind: Kind
    family: str
    config: dict[str, JsonValue] = Field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    license: str = ""
    training_data: str = ""
    recipe: str = ""
    parent: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    tenant: str = "local"
    created: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    @field_validator("config")
    @classmethod
    def _has_json(cls, config: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """JsonValue takes 1e999 as infinity, whatever the model says of numbers."""
        try:
            json.dumps(config, allow_nan=False)
        except ValueError:
            raise ValueError("holds a number that JSON has not") from None
        return config

    @field_validator("files")
    @classmethod
    def _once_each(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        paths = [entry.path for entry in files]
        if len(set(paths)) < len(paths) or MANIFEST_NAME in paths:
            raise ValueError(f"each path may stand there once, and {MANIFEST_NAME} not at all")
        return files

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of all fields."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.size_bytes for entry in self.files)

    def same_content(self, other: Manifest) -> bool:
        """Whether both describe the same model; when they were written does not matter."""
        return self.model_copy(update={"created": other.created}) == other

    def to_json(self) -> str:
        """The text of ``model.json``."""
        return self.model_dump_json(indent=2) + "\n"


@dataclass(frozen=True)
class ModelVersion:
    """A version as a store knows it: its manifest, the layer that holds it, the aliases that name it."""

    manifest: Manifest
    layer: str
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.manifest.version

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return self.manifest.digest

    @property
    def key(self) -> tuple[str, str]:
        """(name, version)."""
        return self.name, self.version

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def read_manifest(text: str | bytes, where: str) -> Manifest:
    """Parse ``model.json``. Raises DATA_LOSS naming ``where`` when it is none."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _no_manifest(where, f"{place}: {first['msg']}") from None
    except ServiceError as error:
        raise _no_manifest(where, error.message) from None


def read_manifest_of(name: str, version: str, text: str | bytes) -> Manifest:
    """Parse the ``model.json`` that lies where ``name:version`` belongs. DATA_LOSS when it is another's."""
    where = f"{name}/{version}/{MANIFEST_NAME}"
    manifest = read_manifest(text, where)
    if (manifest.name, manifest.version) != (name, version):
        raise _no_manifest(where, f"it is that of {manifest.name}:{manifest.version}")
    return manifest


def _no_manifest(where: str, what: str) -> ServiceError:
    message = f"{where} is no model manifest: {what}"
    return ServiceError(Code.DATA_LOSS, Reason.FILE_TAMPERED, message, resource=("file", where))


def describe_files(folder: Path, paths: Iterable[str] | None = None) -> tuple[FileEntry, ...]:
    """Entries with sizes and hashes for ``paths`` (default: every file) of ``folder``, by path."""
    found = paths if paths is not None else _files_of(folder)
    return tuple(_entry(folder, path) for path in sorted(found))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_of(folder: Path) -> list[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [str(path) for path in files if str(path) != MANIFEST_NAME]


def _entry(folder: Path, path: str) -> FileEntry:
    file = folder / check_path(path)
    return FileEntry(path=path, size_bytes=file.stat().st_size, sha256=sha256_of(file))
