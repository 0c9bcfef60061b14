"""Makes the steps of the shipped language models at set-up, so that serving them needs no torch.

python -m services.sampler.prepare --models models
"""

from __future__ import annotations

from pathlib import Path

from services.common.store import Kind, ModelStore, ModelVersion
from services.common.store.preparing import Make, run
from services.sampler.loader import EngineLoader


def maker(models: Path, store: ModelStore) -> Make:
    """Loads a model once, which makes its steps and keeps them."""
    loader = EngineLoader(store)

    def make(version: ModelVersion, folder: Path) -> None:
        loader.close(loader.load(version, folder))

    return make


if __name__ == "__main__":
    run(__doc__, {Kind.LANGUAGE_MODEL}, maker)
