"""Pipelines in diffusers' format: which of a repository's many files are the model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.common.store.safety import PICKLE_SUFFIXES, unsafe

INDEX_FILE = "model_index.json"
NETWORKS = ("unet", "transformer")
_WEIGHTY = (*NETWORKS, "vae", "text_encoder", "text_encoder_2", "text_encoder_3")
_COMPONENTS = (*_WEIGHTY, "scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")
"""Others there may be are for safety checks, image prompts and other frameworks."""
_SMALL = frozenset({".json", ".txt", ".model"})
_WEIGHTS = re.compile(
    r"(?P<stem>model|diffusion_pytorch_model)(\.(?P<variant>[a-z0-9_]+))?(-\d+-of-\d+)?"
    r"(?P<suffix>\.safetensors(\.index(\.(?P<indexed>[a-z0-9_]+))?\.json)?)"
)
_VARIANTS = (None, "fp16", "bf16")
"""Which weights are taken where there are several kinds: the first of these."""


@dataclass(frozen=True)
class Weights:
    """The weights of one component."""

    variant: str | None
    files: tuple[str, ...]
    """Their paths; none for a component that has none."""


def weights_of(component: str, names: Iterable[str]) -> Weights:
    """Which of the files ``names`` hold a component's weights.

    Raises FAILED_PRECONDITION, UNSAFE_FORMAT, when it has them only as pickles.
    """
    inside = [name for name in names if _folder(name) == component]
    kinds: dict[str | None, list[str]] = {}
    for name in inside:
        match = _WEIGHTS.fullmatch(PurePosixPath(name).name)
        if match and match["suffix"] == ".safetensors":
            kinds.setdefault(match["variant"], []).append(name)
    for variant in _VARIANTS:
        if variant in kinds:
            return Weights(variant, tuple(sorted(kinds[variant])))
    pickles = [name for name in inside if PurePosixPath(name).suffix in PICKLE_SUFFIXES]
    if pickles:
        raise unsafe(
            f"component {component!r} has its weights only as pickles ({pickles[0]}), which can run code "
            "when read; use safetensors"
        )
    return Weights(None, ())


def needed(names: Iterable[str]) -> list[str]:
    """The files of a pipeline's repository that it is opened from, sorted.

    Raises FAILED_PRECONDITION, UNSAFE_FORMAT, for a component whose weights are only there as pickles.
    """
    every = list(names)
    kept = {INDEX_FILE}
    for component in _COMPONENTS:
        weights = weights_of(component, every)
        kept.update(weights.files)
        kept.update(name for name in every if _folder(name) == component and _is_small(name, weights.variant))
    return sorted(kept)


def network_of(components: Iterable[str]) -> str:
    """The component that is asked at each step."""
    return next(each for each in components if each in NETWORKS)


def _folder(name: str) -> str:
    """The folder of a file that lies directly in one of the repository's; else ""."""
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) == 2 else ""


def _is_small(name: str, variant: str | None) -> bool:
    """Settings, vocabularies, and the index of the weights that are taken."""
    path = PurePosixPath(name)
    match = _WEIGHTS.fullmatch(path.name)
    if match is None:
        return path.suffix in _SMALL
    return match["suffix"] != ".safetensors" and (match["indexed"] or match["variant"]) == variant
