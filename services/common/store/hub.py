"""Models from a Hugging Face hub (``hf:``); safe formats only."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import NoReturn
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

from services.common.errors import Code, Reason, ServiceError
from services.common.store.directory import describe, refuse_pickles
from services.common.store.disk import staging
from services.common.store.layer import Report
from services.common.store.manifest import ModelVersion
from services.common.store.pipeline import INDEX_FILE, needed
from services.common.store.reference import Reference
from services.common.store.safety import SAFE_PATTERNS

_COMMIT = re.compile(r"[0-9a-f]{40}")
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
