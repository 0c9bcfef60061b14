"""Fetches models into the cache before a service starts: python -m services.common.store.filling REFERENCE…

What is there already is checked and kept. References may also be separated by commas, as in a service's
PRELOAD variable; the store's own variables say where models come from.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from services.common import log
from services.common.errors import ServiceError
from services.common.settings import SettingsError, from_environment
from services.common.store.settings import StoreSettings
from services.common.store.store import ModelStore

FAILED = 1
_SHARE = 0.1
"""Of a model's bytes, between two lines of the log."""

_logger = logging.getLogger("pequod.store")


async def fill(store: ModelStore, references: Sequence[str]) -> None:
    """Have the files of every reference on this machine. Raises ServiceError for one that cannot be had."""
    for reference in references:
        progress = _Progress(reference)
        version = await store.resolve(reference, progress)
        folder = await store.fetch(version, progress)
        _logger.info("model is here", extra={"model": str(version), "folder": str(folder)})


class _Progress:
    """Writes a line when a model is a tenth further; called in any thread."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._next = _SHARE

    def __call__(self, done: int, total: int, message: str) -> None:
        if total and done >= self._next * total:
            self._next = done / total + _SHARE
            _logger.info("fetching", extra={"model": self._reference, "bytes": done, "of": total})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("references", nargs="+", help="models, as requests name them")
    given = options.parse_args(arguments).references
    try:
        store = from_environment(StoreSettings).open()
        asyncio.run(fill(store, [each.strip() for each in ",".join(given).split(",") if each.strip()]))
    except (ServiceError, SettingsError, OSError) as error:
        sys.stderr.write(f"filling: {error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    log.configure("filling")
    sys.exit(main())
