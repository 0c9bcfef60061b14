"""Turns tracing on in a process, where its environment says so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from services.common.tracing import spans
from services.common.tracing.settings import tracing_settings


@contextlib.contextmanager
def tracing(name: str, environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """Spans of the process ``pequod-NAME`` are sent while the block runs, and the last of them at its end.

    Without a collector's address nothing is imported. Raises SettingsError on a bad value.
    """
    settings = tracing_settings(environ)
    if not settings.address:
        yield
        return
    from services.common.tracing.sdk import Sdk  # a second of imports that nobody else needs

    spans.begin_tracing(Sdk(f"pequod-{name}", settings))
    try:
        yield
    finally:
        spans.end_tracing()
