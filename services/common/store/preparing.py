"""Makes at set-up what a service derives from the shipped models, so that serving them needs no torch."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from services.common.errors import ServiceError
from services.common.store.disk import DiskLayer
from services.common.store.manifest import Kind, ModelVersion
from services.common.store.store import ModelStore

Make = Callable[[ModelVersion, Path], object]
"""Derives what a version, whose files are in a folder, is served from; blocking."""


def shipped(models: Path) -> ModelStore:
    """The store ``models``, which keeps what is derived from it in its own folder ``exports``."""
    return ModelStore([DiskLayer(models, "shipped", writable=False)], cache=models)


async def prepare(store: ModelStore, kinds: Collection[Kind], make: Make) -> list[str]:
    """Make what is missing for every version of these kinds; returns those that are ready.

    What is kept and intact stays. Raises ServiceError.
    """
    ready = []
    for version in await store.list_versions():
        if version.manifest.kind in kinds:
            await asyncio.to_thread(make, version, await store.fetch(version))
            ready.append(str(version))
    return ready


def run(
    description: str | None,
    kinds: Collection[Kind],
    maker: Callable[[Path, ModelStore], Make],
    arguments: Sequence[str] | None = None,
) -> None:
    """The command line of a service's ``prepare``; ``maker`` gets the store's folder and the store."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--models", type=Path, required=True, help="the shipped store")
    chosen = options.parse_args(arguments)
    store = shipped(chosen.models)
    try:
        ready = asyncio.run(prepare(store, kinds, maker(chosen.models, store)))
    except (ServiceError, OSError) as error:
        options.exit(2, f"prepare: {error}\n")
    sys.stdout.write("".join(f"{version} is ready\n" for version in ready))
