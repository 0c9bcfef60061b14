"""Exports the shipped encoders at set-up, so that serving them needs no torch.

python -m services.tokenizer.prepare --models models
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from services.common.errors import ServiceError
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.store import ModelStore
from services.common.store.disk import DiskLayer
from services.tokenizer import families
from services.tokenizer.encoders.opening import ENCODERS, Device, EncoderOpener


async def prepare(models: Path) -> list[str]:
    """Make and check the graphs of every encoder in the store ``models``, in its own folder ``exports``.

    Kept graphs that are intact stay. Returns the versions that are ready. Raises ServiceError.
    """
    store = ModelStore([DiskLayer(models, "shipped", writable=False)], cache=models)
    opener = EncoderOpener(store, StoreExporter(models, family_graphs(families)), Device("cpu", threads=1))
    ready = []
    for version in await store.list_versions():
        if version.manifest.kind in ENCODERS:
            folder = await store.fetch(version)
            await asyncio.to_thread(opener.graphs, version, folder)
            ready.append(str(version))
    return ready


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it from the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--models", type=Path, required=True, help="the shipped store")
    chosen = options.parse_args(arguments)
    try:
        ready = asyncio.run(prepare(chosen.models))
    except (ServiceError, OSError) as error:
        options.exit(2, f"prepare: {error}\n")
    sys.stdout.write("".join(f"{version} is exported\n" for version in ready))


if __name__ == "__main__":
    main()
