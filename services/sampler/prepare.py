"""Makes the steps of the shipped language models at set-up, so that serving them needs no torch.

python -m services.sampler.prepare --models models
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from services.common.errors import ServiceError
from services.common.store import Kind, ModelStore
from services.common.store.disk import DiskLayer
from services.sampler.loader import EngineLoader


async def prepare(models: Path) -> list[str]:
    """Make the steps of every language model in the store ``models``, in its own folder ``exports``.

    What is kept and intact stays. Returns the versions that are ready. Raises ServiceError.
    """
    store = ModelStore([DiskLayer(models, "shipped", writable=False)], cache=models)
    loader = EngineLoader(store)
    ready = []
    for version in await store.list_versions(Kind.LANGUAGE_MODEL):
        engine = await asyncio.to_thread(loader.load, version, await store.fetch(version))
        loader.close(engine)
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
    sys.stdout.write("".join(f"{version} is ready\n" for version in ready))


if __name__ == "__main__":
    main()
