"""Loads models into engines: the manifest names the family, the family's file does the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from services.common.families import load as load_family
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelStore, ModelVersion
from services.sampler import families
from services.sampler.engine import Engine
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.ngrams.engine import NgramEngine
from services.sampler.sequence import Plan, Sequence, Stopping, Task

_WARM_UP_SYMBOLS = 32


class EngineLoader:
    """What the residency manager asks of a service: from files to an engine."""

    kinds: frozenset[str] = frozenset({Kind.NGRAM})

    def __init__(self, store: ModelStore) -> None:
        """``store`` keeps what is derived from a version, for example its suffix array."""
        self._store = store

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """The family's estimate from the sizes of the files."""
        family = load_family(families, version.manifest.family)
        return int(family.BYTES_PER_FILE_BYTE * version.manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Engine:
        """An engine over the files in ``path``. FAILED_PRECONDITION, LOAD_FAILED, when they make none."""
        family = load_family(families, version.manifest.family)
        with load_failures(version):
            model = family.load(version.manifest.config, path, partial(self._store.derive_now, version))
        return NgramEngine(version.name, model)

    def warm_up(self, model: Engine) -> None:
        """Draw a few symbols. A model that cannot is not fit to serve: its error is raised."""
        nothing = np.empty(0, np.int64)
        options = NgramOptions(model.traits.order or 1)
        plan = Plan(Task.GENERATE, nothing, options, stopping=Stopping(_WARM_UP_SYMBOLS))
        sequence = Sequence(plan, 0, model.alphabet)
        while sequence.finish is None:
            (output,) = model.step([sequence])
            if output.error is not None:
                raise output.error
        model.release(sequence)

    def close(self, model: Engine) -> None:
        """Mapped files close when the last array over them is gone."""
