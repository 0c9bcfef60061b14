"""A checkpoint becomes a version: reserved in the database, published, the alias moved, marked.

Each step may be repeated, so whoever comes after one that died at any of them ends what it began; two at once
end with one version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.common.errors import Code, Reason, ServiceError
from services.common.store import Manifest, ModelStore, ModelVersion
from services.common.store.layer import alias_conflict
from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.jobs.job import Job
from services.finetune.promotion.records import PromotionRecords, Reserved, Wanted, gone
from services.finetune.recipes.task import is_whole
from services.finetune.recipes.version import manifest_of
from services.finetune.waiting import wait

_TRIES = 10


@dataclass(frozen=True)
class Promoted:
    """The version, and what the alias named before; "" for nothing."""

    version: ModelVersion
    previous_version: str


class Promoter:
    """Publishes into ``store``. Blocking; for threads without an event loop."""

    def __init__(self, records: PromotionRecords, store: ModelStore) -> None:
        self.records = records
        self._store = store

    def promote(
        self,
        job: Job,
        checkpoint: Checkpoint,
        folder: Path,
        wanted: Wanted,
        mark: Callable[[Wanted], None],
        expected: str | None = None,
    ) -> Promoted:
        """``folder``: the candidate. ``mark`` notes that it is done. ``expected``: what the alias must name.

        Raises FAILED_PRECONDITION where the files are gone, ABORTED where the alias names something else.
        """

        def describe(version: str) -> Manifest:
            return _manifest(job, checkpoint, folder, wanted.name, version)

        if expected is not None:
            self._check(wanted, expected)
        reserved = self.records.find(wanted)
        if reserved is None:
            if not is_whole(folder):
                raise gone(checkpoint.checkpoint_id)
            reserved = self.records.reserve(wanted, self._taken(wanted.name), describe)
        version = self._published(wanted, reserved, folder, describe)
        previous = self._move(wanted, version.version, expected)
        mark(wanted)
        return Promoted(wait(self._store.resolve(str(version))), previous)

    def _published(
        self, wanted: Wanted, reserved: Reserved, folder: Path, describe: Callable[[str], Manifest]
    ) -> ModelVersion:
        for _ in range(_TRIES):
            if reserved.published:
                return wait(self._store.resolve(f"{wanted.name}:{reserved.manifest.version}"))
            try:
                return wait(self._store.publish(folder, reserved.manifest))
            except ServiceError as error:
                if error.reason is not Reason.VERSION_EXISTS:
                    raise
            refused = reserved.manifest.version
            reserved = self.records.move_on(wanted, refused, self._taken(wanted.name), describe)
        what = f"others publish versions of {wanted.name} all the time"
        raise ServiceError(Code.ABORTED, Reason.VERSION_EXISTS, what, retry_after=1.0)

    def _move(self, wanted: Wanted, version: str, expected: str | None) -> str:
        """The alias names the version; returns what it named before."""
        for _ in range(_TRIES):
            before = self._named(wanted)
            if before == version:
                found = self.records.find(wanted)
                return found.previous_version if found else ""
            if expected is not None and before != expected:
                raise alias_conflict(wanted.name, wanted.alias, expected, before)
            self.records.note_previous(wanted, before)
            try:
                return wait(self._store.set_alias(wanted.name, wanted.alias, version, before))
            except ServiceError as error:
                if error.code is not Code.ABORTED or expected is not None:
                    raise
        what = f"others move {wanted.name}@{wanted.alias} all the time"
        raise ServiceError(Code.ABORTED, Reason.ALIAS_CONFLICT, what, retry_after=1.0)

    def _check(self, wanted: Wanted, expected: str) -> None:
        """Before anything is published. Raises ABORTED."""
        before = self._named(wanted)
        found = self.records.find(wanted)
        if before != expected and (found is None or before != found.manifest.version):
            raise alias_conflict(wanted.name, wanted.alias, expected, before)

    def _named(self, wanted: Wanted) -> str:
        """The version that the alias names; "" for none."""
        try:
            return wait(self._store.resolve(f"{wanted.name}@{wanted.alias}")).version
        except ServiceError as error:
            if error.code is Code.NOT_FOUND:
                return ""
            raise

    def _taken(self, name: str) -> list[str]:
        return [each.version for each in wait(self._store.list_versions()) if each.name == name]


def _manifest(job: Job, checkpoint: Checkpoint, folder: Path, name: str, version: str) -> Manifest:
    """The candidate's, with its own name and where it comes from."""
    found = manifest_of(folder)
    spec = job.spec
    lineage: dict[str, Any] = {
        "job": job.job_id,
        "checkpoint": checkpoint.checkpoint_id,
        "step": checkpoint.step,
        "recipe": spec.recipe,
        "preset": spec.preset,
        "parameters": dict(spec.parameters),
        "seed": spec.seed,
        "dataset": spec.dataset_id,
        "dataset_digest": job.dataset_digest,
        "base": job.base_version,
        "scores": [asdict(each) for each in checkpoint.scores],
        "rank": checkpoint.rank,
    }
    return found.model_copy(
        update={
            "name": name,
            "version": version,
            "recipe": spec.recipe,
            "parent": job.base_version or found.parent,
            "tenant": job.tenant,
            "config": {**found.config, "lineage": lineage},
            "metrics": {**found.metrics, **{each.name: each.value for each in checkpoint.scores}},
        }
    )
