"""Who works on a data set: claimed for a while, written with the claim's epoch, given back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from services.common.database.clock import now
from services.common.hiding import hidden
from services.finetune.database.schema import BLOBS, DATASET_FILES, DATASETS
from services.finetune.datasets import rows
from services.finetune.datasets.checking.check import Outcome
from services.finetune.datasets.checking.hashing import digest_of
from services.finetune.datasets.dataset import Dataset, Progress, State
from services.finetune.datasets.records import DatasetRecords

_UNFINISHED = (State.IMPORTING.value, State.CHECKING.value)
_ENDED: Mapping[str, Any] = {
    **{"lease_owner": None, "lease_until": None, "progress": None},
    **{"reserved_bytes": 0},
}


class LeaseLost(Exception):
    """The data set is another's by now, or deleted: whoever worked on it stops and writes nothing."""


@dataclass(frozen=True)
class Claim:
    """A data set that is ours until the lease ends. ``attempt`` counts from 1."""

    dataset: Dataset
    epoch: int
    attempt: int


class Leases:
    """Claims for one process, ``owner``; each lasts ``seconds`` unless it is renewed."""

    def __init__(self, records: DatasetRecords, owner: str, seconds: float) -> None:
        self._records = records
        self._owner = owner
        self._seconds = seconds

    def claim(self) -> Claim | None:
        """The oldest data set that waits for work, or whose worker has died; None when there is none."""
        free = DATASETS.c.lease_until.is_(None) | (DATASETS.c.lease_until < now())
        waiting = select(DATASETS.c.tenant, DATASETS.c.dataset_id).where(
            DATASETS.c.state.in_(_UNFINISHED), free
        )
        query = waiting.order_by(DATASETS.c.created_at).limit(1).with_for_update(skip_locked=True)

        def task(connection: Connection) -> Claim | None:
            found = connection.execute(query).one_or_none()
            if found is None:
                return None
            mine = rows.this(found.tenant, found.dataset_id)
            values = {
                **{"epoch": DATASETS.c.epoch + 1, "attempts": DATASETS.c.attempts + 1},
                **{"lease_owner": self._owner, "lease_until": now(self._seconds)},
            }
            connection.execute(update(DATASETS).where(mine).values(values))
            row = connection.execute(select(DATASETS).where(mine)).mappings().one()
            return Claim(rows.dataset_of(row), row["epoch"], row["attempts"])

        return self._records.database.write(task)

    def renew(self, claim: Claim, progress: Progress) -> None:
        """Keep the claim, and say how far the work is. Raises LeaseLost."""
        values = {"lease_until": now(self._seconds), "progress": progress.model_dump()}
        self._records.database.write(lambda connection: _set(connection, claim, values))

    def give_back(self, claim: Claim) -> None:
        """Leave the work to whoever claims it next; it does not count as an attempt."""
        values = {"lease_until": None, "lease_owner": None, "attempts": DATASETS.c.attempts - 1}
        self._records.database.write(lambda connection: _set(connection, claim, values))

    def reserve(self, claim: Claim, size_bytes: int) -> None:
        """Set aside room for so many bytes in all. Raises RESOURCE_EXHAUSTED when they do not fit."""
        tenant, quota = claim.dataset.tenant, self._records.quota_bytes

        def task(connection: Connection) -> None:
            _set(connection, claim, {"reserved_bytes": 0})
            rows.check_room(connection, tenant, size_bytes, quota)
            _set(connection, claim, {"reserved_bytes": size_bytes})

        self._records.database.write(task)

    def imported(self, claim: Claim) -> None:
        """The files have come; the check is next."""
        values = {"state": State.CHECKING.value}
        self._records.database.write(lambda connection: _set(connection, claim, values))

    def ready(self, claim: Claim, outcome: Outcome) -> bool:
        """The data set holds the files of ``outcome``. False: some are no longer kept, keep them again."""
        files = [
            {
                **{"tenant": claim.dataset.tenant, "dataset_id": claim.dataset.dataset_id},
                **{"path": used.item.path, "role": used.role.value, "sha256": used.sha256},
                "size_bytes": used.item.size_bytes,
            }
            for used in outcome.used
        ]
        sizes = {used.sha256: used.item.size_bytes for used in outcome.used}
        values = {
            **_ENDED,
            "state": State.READY.value,
            "kind": outcome.kind.value,
            "digest": digest_of((used.item.path, used.sha256) for used in outcome.used),
            "size_bytes": sum(sizes.values()),
            "report": outcome.report.model_dump(mode="json"),
        }

        def task(connection: Connection) -> bool:
            if not _all_kept(connection, claim.dataset.tenant, list(sizes)):
                return False
            _set(connection, claim, values)
            connection.execute(insert(DATASET_FILES), files)
            return True

        return self._records.database.write(task)

    def failed(self, claim: Claim, error: str, outcome: Outcome | None = None) -> None:
        """The data set holds nothing, and says why: ``error`` may hold words of other programs."""
        values = {**_ENDED, "state": State.FAILED.value, "error": hidden(error)[:2000]}
        if outcome is not None:
            values |= {"kind": outcome.kind.value, "report": outcome.report.model_dump(mode="json")}

        self._records.database.write(lambda connection: _set(connection, claim, values))


def _set(connection: Connection, claim: Claim, values: Mapping[str, Any]) -> None:
    mine = rows.this(claim.dataset.tenant, claim.dataset.dataset_id) & (DATASETS.c.epoch == claim.epoch)
    unfinished: ColumnElement[bool] = DATASETS.c.state.in_(_UNFINISHED)
    if not connection.execute(update(DATASETS).where(mine, unfinished).values(dict(values))).rowcount:
        raise LeaseLost(claim.dataset.dataset_id)


def _all_kept(connection: Connection, tenant: str, hashes: Sequence[str]) -> bool:
    found = 0
    for start in range(0, len(hashes), 500):
        some = BLOBS.c.sha256.in_(hashes[start : start + 500])
        found += len(
            connection.execute(select(BLOBS.c.sha256).where(BLOBS.c.tenant == tenant, some)).fetchall()
        )
    return found == len(hashes)
