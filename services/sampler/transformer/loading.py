"""Loads language models: from a directory's files to an engine that has shown that it works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.store import ModelVersion
from services.common.store.derived import Derive
from services.sampler.engine import Traits
from services.sampler.transformer.engine import TransformerEngine
from services.sampler.transformer.forms import Forms
from services.sampler.transformer.lora.admission import Admission
from services.sampler.transformer.lora.places import Places
from services.sampler.transformer.model.chat import ChatTemplate
from services.sampler.transformer.model.directory import FAMILIES, TOKENIZER_FILE, Description, describe
from services.sampler.transformer.model.vocabulary import Vocabulary
from services.sampler.transformer.onnx.opening import Opened, Placement
from services.sampler.transformer.opening import device_of, open_model
from services.sampler.transformer.prefixes import BLOCK, Prefixes
from services.sampler.transformer.runner import Runner

_JOINT = 4 * BLOCK + 1
"""Tokens that are read block by block and together to see whether that is the same."""


_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Budget:
    """Memory for the keys and values of one model, bytes."""

    cache_bytes: int = 2**30
    prefix_bytes: int = 2**28


def load(
    version: ModelVersion, folder: Path, derive: Derive, placement: Placement, budget: Budget
) -> TransformerEngine:
    """The engine of the model in ``folder``. Raises ValueError naming what is wrong with its files."""
    description = describe(folder)
    vocabulary = Vocabulary(folder / TOKENIZER_FILE, description.bos)
    opened = open_model(description, folder, derive, placement, budget.cache_bytes)
    runner = opened.runner
    return TransformerEngine(
        name=version.name,
        alphabet=vocabulary,
        traits=_traits(description, vocabulary, opened),
        runner=runner,
        positions=opened.positions or max(budget.cache_bytes // runner.bytes_per_position, runner.length),
        prefixes=Prefixes(budget.prefix_bytes),
        inspector=opened.inspector,
        adapters=Places(runner, opened.linears),
        joint=settle_pieces(runner),
    )


def memory_bytes(version: ModelVersion, folder: Path, placement: Placement, budget: Budget) -> int:
    """What the model will hold at most: weights in its precision, and caches that it can fill."""
    weights = int(2.2 * version.manifest.size_bytes)
    try:
        description = describe(folder)
        weights = int(_growth(description, placement) * version.manifest.size_bytes)
        positions = placement.slots * min(description.window, placement.context)
        cache = positions * description.cached_numbers * _FLOAT_BYTES
    except (ValueError, KeyError, TypeError):
        return weights  # loading will say what is wrong
    return weights + min(budget.cache_bytes, cache) + budget.prefix_bytes


def _growth(description: Description, placement: Placement) -> float:
    """Bytes of weights in memory for each byte of a file in 16 bits, as files are."""
    if placement.precision in ("auto", "bf16") and device_of(placement.device) == "cuda":
        return 1.2
    ours = description.model_type in FAMILIES
    growth = {"auto": 1.2 if ours else 2.2, "int8": 1.2, "bf16": 1.2, "fp32": 2.2}
    return growth[placement.precision]


def settle_pieces(runner: Runner) -> bool:
    """Whether this machine's kernels give the same keys, values and logits however many rows they take.

    Where small pieces differ the runner is told to read in blocks; where blocks differ too, one by one.
    """
    for piece in (runner.piece, BLOCK):
        runner.piece = piece
        if _reads_jointly(runner):
            return True
    return False


def _reads_jointly(runner: Runner) -> bool:
    total = min(_JOINT, runner.length)
    ids = np.arange(total) % runner.vocabulary
    together = runner.read(0, 0, ids, [total - 1]).copy()
    kept = runner.save(0, 0, total)
    for begin in range(0, total, runner.piece):
        piece = ids[begin : begin + runner.piece]
        apart = runner.read(0, begin, piece, [piece.size - 1])
    equal = np.array_equal(together, apart) and np.array_equal(kept, runner.save(0, 0, total))
    runner.free(0)
    return equal


def _traits(description: Description, vocabulary: Vocabulary, opened: Opened) -> Traits:
    template, runner = description.chat_template, opened.runner
    return Traits(
        vocabulary_size=runner.vocabulary,
        window=runner.length,
        bos=description.bos,
        eos=description.eos,
        layers=runner.layers,
        forms=Forms(vocabulary.file, runner.vocabulary, description.eos),
        chat=ChatTemplate(template, description.special_tokens, vocabulary) if template else None,
        adapters=Admission(opened.linears, runner.open_adapted) if runner.adapters else None,
    )
