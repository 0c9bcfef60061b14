"""Loads models into engines: the manifest names kind and family, the family's file does the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from services.common.families import load as load_family
from services.common.lora import Adapter
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelStore, ModelVersion
from services.sampler import families
from services.sampler.engine import Engine
from services.sampler.ngrams.engine import NgramEngine
from services.sampler.sequence import Plan, Sequence, Stopping, Task
from services.sampler.transformer import loading
from services.sampler.transformer.engine import TransformerEngine
from services.sampler.transformer.lora.adapter import read as read_adapter
from services.sampler.transformer.onnx.opening import Placement

Loaded = Engine | Adapter
"""What is kept in memory: models, and adapters for them."""

_WARM_UP_SYMBOLS = 32
_FLOATS_PER_HALF = 2
"""Adapters are stored in 16 bits or more and held in 32."""


class EngineLoader:
    """What the residency manager asks of a service: from files to an engine."""

    kinds: frozenset[str] = frozenset({Kind.NGRAM, Kind.LANGUAGE_MODEL, Kind.ADAPTER})

    def __init__(
        self,
        store: ModelStore,
        placement: Placement | None = None,
        budget: loading.Budget | None = None,
    ) -> None:
        """``store`` keeps what is derived from a version: a suffix array, a transformer's graph."""
        self._store = store
        self._placement = placement or Placement()
        self._budget = budget or loading.Budget()

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """An estimate from the sizes of the files."""
        if version.manifest.kind == Kind.LANGUAGE_MODEL:
            return loading.memory_bytes(version, path, self._placement, self._budget)
        if version.manifest.kind == Kind.ADAPTER:
            return _FLOATS_PER_HALF * version.manifest.size_bytes
        family = load_family(families, version.manifest.family)
        return int(family.BYTES_PER_FILE_BYTE * version.manifest.size_bytes)

    def load(self, version: ModelVersion, path: Path) -> Loaded:
        """What the files in ``path`` make. FAILED_PRECONDITION, LOAD_FAILED, when they make nothing."""
        derive = partial(self._store.derive_now, version)
        with load_failures(version):
            if version.manifest.kind == Kind.LANGUAGE_MODEL:
                return loading.load(version, path, derive, self._placement, self._budget)
            if version.manifest.kind == Kind.ADAPTER:
                return read_adapter(str(version), version.manifest.digest, path)
            family = load_family(families, version.manifest.family)
            return NgramEngine(version.name, family.load(version.manifest.config, path, derive))

    def warm_up(self, model: Loaded) -> None:
        """Draw a few symbols. A model that cannot is not fit to serve: its error is raised."""
        if isinstance(model, Adapter):
            return
        prompt = np.array([] if model.traits.is_ngram else [model.traits.bos or 0], np.int64)
        sequence = Sequence(
            Plan(Task.GENERATE, prompt, stopping=Stopping(_WARM_UP_SYMBOLS)), 0, model.alphabet
        )
        while sequence.finish is None:
            (output,) = model.step([sequence])
            if output.error is not None:
                raise output.error
        model.release(sequence)

    def close(self, model: Loaded) -> None:
        """Let go of a runner; mapped files close when the last array over them is gone."""
        if isinstance(model, TransformerEngine):
            model.close()
