"""Models from a Hugging Face hub (``hf:``) or a Hugging Face directory (``file:``); safe formats only."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from httpx2 import HTTPError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from pydantic import ValidationError

from services.common.errors import Code, Reason, ServiceError, model_not_found
from services.common.store.disk import staging
from services.common.store.layer import Report
from services.common.store.manifest import MANIFEST_NAME, Kind, Manifest, ModelVersion, describe_files
from services.common.store.pipeline import INDEX_FILE, needed
from services.common.store.reference import Reference
from services.common.store.safety import PICKLE_SUFFIXES, SAFE_PATTERNS, SAFE_SUFFIXES, unsafe

_COMMIT = re.compile(r"[0-9a-f]{40}")
_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TEXT_IMAGE = frozenset({"CLIPModel"})
_CONFIGS = (INDEX_FILE, "config.json", "adapter_config.json")
"""What tells pipelines, models and adapters apart; where there are several, the first counts."""
_LORA_FILE = "pytorch_lora_weights.safetensors"
"""What diffusers writes of an adapter: weights alone."""
_UNREACHABLE = (HfHubHTTPError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError)


class Hub:
    """Fetches snapshots into ``cache``; HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they always do.

    ``pins/`` remembers which commit a revision named when its snapshot was last complete.
    """

    def __init__(self, cache: Path, endpoint: str | None = None) -> None:
        self.cache = cache / "hub"
        self._endpoint = endpoint
        self._described: dict[Path, ModelVersion] = {}

    def describe(self, name: str, folder: Path) -> ModelVersion:
        """The version in a snapshot. Its commit pins it, so that its files are hashed once in a process."""
        if folder not in self._described:
            self._described[folder] = describe(name, folder.name, folder, "hub")
        return self._described[folder]

    def folder(self, reference: Reference, report: Report) -> Path:
        """The snapshot of a repository at a pinned commit; from the cache when the hub is away."""
        name = f"hf:{reference.repo}"
        if _COMMIT.fullmatch(reference.revision) and (kept := self._kept(reference)):
            return kept
        try:
            commit, patterns = self._commit(reference)
            report(0, 0, f"fetching {name}@{commit[:12]}")
            # The library resumes a broken download by itself and fetches only what it lacks.
            folder = self._snapshot(reference.repo, commit, patterns)
            for revision in (reference.revision, commit):
                self._pin(reference.repo, revision, [commit, *patterns])
            return folder
        except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise _not_there(name, reference, error) from None
        except _UNREACHABLE as error:
            return self._kept(reference) or _raise_unreachable(name, error)

    def _commit(self, reference: Reference) -> tuple[str, list[str]]:
        """The commit that the revision names now and, after a look at its files, which of them to fetch."""
        info = HfApi(endpoint=self._endpoint).model_info(
            reference.repo, revision=reference.revision or None, timeout=10
        )
        names = [sibling.rfilename for sibling in info.siblings or ()]
        if INDEX_FILE in names:
            return str(info.sha), [glob.escape(each) for each in needed(names)]
        refuse_pickles(f"hf:{reference.repo}", names)
        return str(info.sha), SAFE_PATTERNS

    def _snapshot(
        self, repo: str, commit: str, patterns: list[str] = SAFE_PATTERNS, local_only: bool = False
    ) -> Path:
        path = snapshot_download(
            repo,
            revision=commit,
            cache_dir=self.cache,
            allow_patterns=patterns,
            local_files_only=local_only,
            endpoint=self._endpoint,
        )
        return Path(path)

    def _pin(self, repo: str, revision: str, lines: list[str]) -> None:
        """Remember a commit and, in the other lines, which of its files are wanted."""
        with staging(self.cache) as staged:
            (staged / "pin").write_text("\n".join(lines))
            file = self._pin_file(repo, revision)
            file.parent.mkdir(exist_ok=True)
            (staged / "pin").replace(file)

    def _kept(self, reference: Reference) -> Path | None:
        """The complete snapshot that the revision named last; None when there is none."""
        try:
            commit, *patterns = self._pin_file(reference.repo, reference.revision).read_text().split("\n")
            return self._snapshot(reference.repo, commit, patterns or SAFE_PATTERNS, local_only=True)
        except (LocalEntryNotFoundError, OSError):
            return None

    def _pin_file(self, repo: str, revision: str) -> Path:
        return self.cache / "pins" / quote(f"{repo}@{revision}", safe="")


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


def _raise_unreachable(name: str, cause: Exception) -> NoReturn:
    raise ServiceError(
        Code.UNAVAILABLE,
        Reason.HUB_UNREACHABLE,
        f"{name} is not in the cache and the hub does not answer: {type(cause).__name__}",
        retry_after=30.0,
        resource=("model", name),
    )


def _not_there(name: str, reference: Reference, error: Exception) -> ServiceError:
    if isinstance(error, GatedRepoError):
        message = f"{name} is gated: accept its terms on the hub and set HF_TOKEN"
        return ServiceError(Code.PERMISSION_DENIED, Reason.MODEL_NOT_FOUND, message, resource=("model", name))
    revision = f" at revision {reference.revision!r}" if isinstance(error, RevisionNotFoundError) else ""
    message = f"the hub has no model {name}{revision}"
    return ServiceError(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, message, resource=("model", name))
