"""Finds the source that a URI names."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import SplitResult

from services.finetune.datasets.importing.files import FileSource
from services.finetune.datasets.importing.objects import ObjectSource
from services.finetune.datasets.importing.source import Allowed, Source
from services.finetune.datasets.importing.web import WebSource


def open_source(uri: str, allowed: Allowed) -> Source:
    """Raises INVALID_ARGUMENT naming the field "uri": not a URI of a kind we read, or not allowed."""
    parts = allowed.check(uri)
    makers: dict[str, Callable[[SplitResult], Source]] = {
        "file": lambda parts: FileSource(parts, allowed.file_roots),
        "s3": ObjectSource,
        "gs": ObjectSource,
        "https": lambda parts: WebSource(parts, allowed.check),
    }
    return makers[parts.scheme](parts)
