"""``export.json``: what an export is made of, how near it is to eager, and the digests that vouch for it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import Code, Reason, ServiceError
from services.common.runtimes.tensors import GraphTensor
from services.common.store.manifest import FileEntry, sha256_of

EXPORT_MANIFEST = "export.json"

# A Triton repository holds its files two folders below the manifest: <model>/1/model.onnx.
_LEVELS = 3


class Target(StrEnum):
    """What an export is for; the values of ``pequod.model.v1.ExportFormat`` in lower case."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    TRITON = "triton"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OutputParity(_Frozen):
    """The worst difference of one output from eager, over all sizes tried."""

    output: str
    max_abs_error: float
    min_cosine: float
    """Smallest cosine between rows (slices of the first axis)."""
    tolerance: float
    """Largest difference allowed."""


class ExportedGraph(_Frozen):
    """One graph of an export."""

    file: str
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    parity: tuple[OutputParity, ...] = ()
    sizes_tried: tuple[dict[str, int], ...] = ()
    """Sizes of the free axes that were compared with eager, the example's first."""
    batched_vs_alone: float | None = None
    """Largest difference of a row alone from the same row in the example batch; None without a batch axis."""


class ExportManifest(_Frozen):
    """An export: its graphs and files, and what made it."""

    target: Target
    source: str = ""
    """Digest of the model version it comes from; empty when it comes from none."""
    graphs: dict[str, ExportedGraph]
    files: tuple[FileEntry, ...]
    opset: int = Field(ge=0)
    """ONNX operator set; 0 for TorchScript."""
    runtime_versions: dict[str, str]
    created: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def graph_of(self, path: Path) -> ExportedGraph:
        """The graph whose file is named like ``path``."""
        for graph in self.graphs.values():
            if path.as_posix().endswith(f"/{graph.file}"):
                return graph
        raise ServiceError(
            Code.DATA_LOSS,
            Reason.FILE_TAMPERED,
            f"{EXPORT_MANIFEST} lists {path.name} but describes no such graph",
        )


def read_export(folder: Path) -> ExportManifest:
    """The manifest of the export in ``folder``; DATA_LOSS, reason FILE_TAMPERED, when it is none."""
    try:
        return ExportManifest.model_validate_json((folder / EXPORT_MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "is no export manifest"
        raise _tampered(f"{EXPORT_MANIFEST} {what}") from error


def verify(folder: Path) -> ExportManifest:
    """The manifest, after every file of the export was hashed again.

    Raises DATA_LOSS, reason FILE_TAMPERED, naming the file.
    """
    manifest = read_export(folder)
    for entry in manifest.files:
        _check(folder, entry)
    return manifest


def listed_in_export(path: Path, content: bytes | None = None) -> ExportManifest | None:
    """The export that ``path`` belongs to, None when no export lists it.

    Raises DATA_LOSS, reason FILE_TAMPERED, when it is listed with another digest. ``content`` is
    what was read from ``path``, if it was.
    """
    path = path.resolve()
    for folder in path.parents[:_LEVELS]:
        if not (folder / EXPORT_MANIFEST).is_file():
            continue
        manifest = read_export(folder)
        name = path.relative_to(folder).as_posix()
        ours = [entry for entry in manifest.files if entry.path in (name, f"{name}.data")]
        for entry in ours:
            _check(folder, entry, content if entry.path == name else None)
        return manifest if ours else None
    return None


def _check(folder: Path, entry: FileEntry, content: bytes | None = None) -> None:
    file = folder / entry.path
    if content is None and not file.is_file():
        raise _tampered(f"{entry.path} is missing")
    digest = sha256_of(file) if content is None else hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        raise _tampered(f"{entry.path}: its sha256 is {digest[:16]}…, the export says {entry.sha256[:16]}…")


def _tampered(message: str) -> ServiceError:
    return ServiceError(Code.DATA_LOSS, Reason.FILE_TAMPERED, message)
