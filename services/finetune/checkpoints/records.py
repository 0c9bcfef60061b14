"""Checkpoints in the database: written by the worker that has the job, read by everybody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.sql import ColumnElement

from services.common.database.clock import now
from services.common.database.database import Database
from services.common.errors import Code, Reason, ServiceError
from services.finetune.checkpoints.checkpoint import Checkpoint, KeptPreview
from services.finetune.database.schema import CHECKPOINTS
from services.finetune.jobs.rows import Row
from services.finetune.recipes.watching import Better, Score


class CheckpointRecords:
    """Of every job. Blocking."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, tenant: str, job_id: str) -> list[Checkpoint]:
        """Those of a job, by step."""
        return self._database.read(lambda connection: of_job(connection, tenant, job_id))

    def get(self, tenant: str, job_id: str, checkpoint_id: str) -> Checkpoint:
        """One. Raises NOT_FOUND."""
        for each in self.all(tenant, job_id):
            if each.checkpoint_id == checkpoint_id:
                return each
        what = f"job {job_id} has no checkpoint {checkpoint_id[:80]!r}"
        resource = ("checkpoint", checkpoint_id[:80])
        raise ServiceError(Code.NOT_FOUND, Reason.CHECKPOINT_NOT_FOUND, what, resource=resource)

    def now(self) -> Any:
        """The database's clock, for one that is about to be written."""
        return self._database.read(lambda connection: connection.scalars(select(now())).one())


def of_job(connection: Connection, tenant: str, job_id: str) -> list[Checkpoint]:
    """Those of a job, by step."""
    query = select(CHECKPOINTS).where(_of(tenant, job_id)).order_by(CHECKPOINTS.c.step)
    return [_checkpoint(each) for each in connection.execute(query).mappings()]


def replace_all(connection: Connection, tenant: str, job_id: str, checkpoints: Iterable[Checkpoint]) -> None:
    """Write those of a job anew; which of them is promoted stays as it is."""
    promoted = {each.checkpoint_id for each in of_job(connection, tenant, job_id) if each.promoted}
    connection.execute(delete(CHECKPOINTS).where(_of(tenant, job_id)))
    rows = [_row(tenant, each) | {"promoted": each.checkpoint_id in promoted} for each in checkpoints]
    connection.execute(insert(CHECKPOINTS), rows)


def to_json(checkpoint: Checkpoint) -> dict[str, Any]:
    """For an event."""
    return {**asdict(checkpoint), "create_time": checkpoint.create_time.timestamp()}


def _of(tenant: str, job_id: str) -> ColumnElement[bool]:
    return (CHECKPOINTS.c.tenant == tenant) & (CHECKPOINTS.c.job_id == job_id)


def _row(tenant: str, checkpoint: Checkpoint) -> dict[str, Any]:
    values = asdict(checkpoint)
    values["created_at"] = values.pop("create_time")
    return {"tenant": tenant, **values}


def _checkpoint(found: Row) -> Checkpoint:
    return Checkpoint(
        job_id=found["job_id"],
        checkpoint_id=found["checkpoint_id"],
        step=found["step"],
        rank=found["rank"],
        scores=scores_of(found["scores"]),
        veto_reason=found["veto_reason"],
        best=found["best"],
        promoted=found["promoted"],
        previews=tuple(KeptPreview(**each) for each in found["previews"]),
        size_bytes=found["size_bytes"],
        digest=found["digest"],
        create_time=found["created_at"],
    )


def scores_of(given: Iterable[dict[str, Any]]) -> tuple[Score, ...]:
    """From JSON."""
    return tuple(Score(each["name"], each["value"], Better(each["better"]), each["veto"]) for each in given)
