"""The model that a fine-tune starts from: a version, or a directory of diffusers' or Transformers' format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.errors import ServiceError
from services.common.store import MANIFEST_NAME, Kind
from services.common.store.directory import describe, kind_of
from services.finetune.recipes.version import manifest_of


@dataclass(frozen=True)
class Base:
    """A folder, and what is known of it."""

    folder: Path
    reference: str
    """``name:version``."""
    digest: str
    """Of its manifest; "" for a directory whose version is known: it stands for the files."""
    kind: Kind
    family: str
    config: Mapping[str, Any]

    @property
    def identity(self) -> str:
        """What a checkpoint is bound to."""
        return self.digest or self.reference


def open_base(folder: Path, reference: str, kind: Kind) -> Base:
    """``reference``: of a directory without a manifest, when it is known; else its files are hashed.

    Raises ValueError for a folder that holds no model of the kind.
    """
    base = _known(folder, reference)
    if base.kind is not kind:
        raise ValueError(f"{folder} is a {base.kind}; a {kind} is needed to start from")
    return base


def _known(folder: Path, reference: str) -> Base:
    if (folder / MANIFEST_NAME).exists():
        made = manifest_of(folder)
        return Base(folder, f"{made.name}:{made.version}", made.digest, made.kind, made.family, made.config)
    try:
        kind, family = kind_of(folder.name, folder)
        if reference:
            return Base(folder, reference, "", kind, family, {})
        made = describe(folder.resolve().name, "", folder, "file").manifest
    except ServiceError as error:
        raise ValueError(f"{folder} holds no model to start from: {error}") from None
    return Base(folder, f"{made.name}:{made.version}", made.digest, kind, family, {})
