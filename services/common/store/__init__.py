"""The model store: reference -> manifest -> layer (disk, objects, hub) -> store."""

from services.common.store.layer import Report
from services.common.store.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Kind,
    Manifest,
    ModelVersion,
    TensorSpec,
    describe_files,
)
from services.common.store.reference import Reference, parse_reference
from services.common.store.store import Change, ModelStore, open_store

__all__ = [
    "MANIFEST_NAME",
    "Change",
    "FileEntry",
    "Kind",
    "Manifest",
    "ModelStore",
    "ModelVersion",
    "Reference",
    "Report",
    "TensorSpec",
    "describe_files",
    "open_store",
    "parse_reference",
]
