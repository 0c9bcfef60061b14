"""Hugging Face directories, of a hub or named by ``file:``, as versions of a store; safe formats only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from services.common.errors import model_not_found
from services.common.store.manifest import MANIFEST_NAME, Kind, Manifest, ModelVersion, describe_files
from services.common.store.pipeline import INDEX_FILE, needed
from services.common.store.safety import PICKLE_SUFFIXES, SAFE_SUFFIXES, unsafe

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TEXT_IMAGE = frozenset({"CLIPModel"})
_CONFIGS = (INDEX_FILE, "config.json", "adapter_config.json")
"""What tells pipelines, models and adapters apart; where there are several, the first counts."""
_LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers writes of an adapter: weights alone."""


def describe(name: str, version: str, folder: Path, layer: str) -> ModelVersion:
    """A manifest for a Hugging Face directory (a model's, diffusers' or PEFT's) from its safe files.

    ``version`` "" stands for one made of the files' hashes.
    """
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    safe = _files(name, names)
    file, config = _config(name, folder)
    kind, family = _kind(file, config)
    files = describe_files(folder, safe)
    hashes = "".join(entry.sha256 for entry in files)
    try:
        manifest = Manifest(
            name=name,
            version=version or hashlib.sha256(hashes.encode()).hexdigest()[:12],
            kind=kind,
            family=family,
            config=config,
            files=files,
            created=datetime.fromtimestamp(file.stat().st_mtime, UTC),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise unsafe(f"{name}: {file.name} describes no model: {where}: {first['msg']}") from None
    return ModelVersion(manifest, layer)


def kind_of(name: str, folder: Path) -> tuple[Kind, str]:
    """Kind and family of a Hugging Face directory; no file of weights is read. Raises NOT_FOUND."""
    return _kind(*_config(name, folder))


def _files(name: str, names: list[str]) -> list[str]:
    """Those that the model is made of, after a look for pickles."""
    if INDEX_FILE in names:
        return needed(names)
    refuse_pickles(name, names)
    # The folder of a store's version is a directory too; its manifest is not one of the model's files.
    return [each for each in names if Path(each).suffix in SAFE_SUFFIXES and each != MANIFEST_NAME]


def _kind(file: Path, config: dict[str, Any]) -> tuple[Kind, str]:
    """Kind and family of what ``config``, read from ``file``, describes."""
    if file.name == INDEX_FILE:
        return Kind.DIFFUSION, "diffusers"
    if file.name in ("adapter_config.json", _LORA_FILE):
        return Kind.ADAPTER, str(config.get("peft_type", "lora")).lower()
    family = str(config.get("model_type", ""))
    named = config.get("architectures")
    architectures = [str(each) for each in named] if isinstance(named, list) else []
    if any(each.endswith(_CAUSAL) for each in architectures):
        return Kind.LANGUAGE_MODEL, family
    if any(each.endswith("ForSequenceClassification") for each in architectures):
        return Kind.RERANKER, family
    if not _TEXT_IMAGE.isdisjoint(architectures):
        return Kind.TEXT_IMAGE_EMBEDDER, family
    return Kind.TEXT_EMBEDDER, family


def refuse_pickles(name: str, files: Iterable[str]) -> None:
    """Refuse a repository whose only weights are pickles."""
    suffixes = {Path(file).suffix for file in files}
    if not suffixes & {".safetensors", ".onnx"} and suffixes & PICKLE_SUFFIXES:
        raise unsafe(f"{name} has its weights only as pickles, which can run code when read; use safetensors")


def _config(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that describes what the folder holds, and what it says: nothing, if that is weights."""
    file = next((folder / each for each in (*_CONFIGS, _LORA_FILE) if (folder / each).is_file()), None)
    if file is None:
        raise model_not_found(name, ())
    if file.name == _LORA_FILE:
        return file, {}
    try:
        # Python's json reads NaN and Infinity, which JSON has not; they are kept as words.
        return file, dict(json.loads(file.read_text(), parse_constant=str))
    except (ValueError, TypeError, RecursionError):
        raise unsafe(f"{name}: {file.name} is no JSON object") from None
