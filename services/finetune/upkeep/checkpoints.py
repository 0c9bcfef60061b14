"""Files of checkpoints of jobs that ended long ago; scores, previews and what was published stay."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exists, select, update
from sqlalchemy.sql import ColumnElement

from services.common.database.database import Database
from services.common.upkeep.collecting import Item
from services.common.upkeep.sizes import size_of
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.database.schema import CHECKPOINTS, JOBS, PROMOTIONS
from services.finetune.jobs.states import ENDED


class CheckpointGarbage:
    """Of jobs of every tenant. A checkpoint without files can be promoted no more, and says so."""

    name = "checkpoints"

    def __init__(self, database: Database, work: Path, seconds: float) -> None:
        """``work``: the folder of jobs' folders; ``seconds``: since the end of a job."""
        self._database, self._work, self._seconds = database, work, seconds

    def find(self, is_real: bool) -> Sequence[Item]:
        """Those with files here; due once their job has ended long enough ago."""
        query = select(CHECKPOINTS, JOBS.c.ended_at).join(JOBS, _of_job()).where(_is_over())
        rows = self._database.read(
            lambda connection: list(connection.execute(query.order_by(JOBS.c.ended_at)).mappings())
        )
        return [self._item(row) for row in rows if self._folder(row).is_dir()]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """The database first: whoever promotes it from then on is told that its files are gone."""
        return [self._remove(item.key) for item in items]

    def _remove(self, row: Any) -> bool:
        if not self._database.write(partial(_forget, row)):
            return False
        JobFolder(self._work, row["tenant"], row["job_id"]).forget(row["step"])
        return True

    def _folder(self, row: Any) -> Path:
        return JobFolder(self._work, row["tenant"], row["job_id"]).candidate(row["step"])

    def _item(self, row: Any) -> Item:
        goes = row["ended_at"] + timedelta(seconds=self._seconds)
        return Item(
            kind="checkpoint",
            what=row["checkpoint_id"],
            size_bytes=size_of(self._folder(row)),
            why="its job has ended",
            goes_at=goes.replace(microsecond=0),
            is_due=goes.timestamp() <= time.time(),
            tenant=row["tenant"],
            key=row,
        )


def _forget(row: Any, connection: Connection) -> bool:
    """Whether it may go; its row says then that its files are gone."""
    mine = (CHECKPOINTS.c.tenant == row["tenant"]) & (CHECKPOINTS.c.checkpoint_id == row["checkpoint_id"])
    still = select(CHECKPOINTS.c.step).join(JOBS, _of_job()).where(mine, _is_over())
    if connection.execute(still).first() is None:
        return False
    connection.execute(update(CHECKPOINTS).where(mine).values(size_bytes=0))
    return True


def _of_job() -> ColumnElement[bool]:
    return (JOBS.c.tenant == CHECKPOINTS.c.tenant) & (JOBS.c.job_id == CHECKPOINTS.c.job_id)


def _is_over() -> ColumnElement[bool]:
    """Its job has ended, and nobody is publishing it."""
    under_way = exists().where(
        PROMOTIONS.c.tenant == CHECKPOINTS.c.tenant,
        PROMOTIONS.c.job_id == CHECKPOINTS.c.job_id,
        PROMOTIONS.c.checkpoint_id == CHECKPOINTS.c.checkpoint_id,
        ~PROMOTIONS.c.published,
    )
    return JOBS.c.state.in_([state.value for state in ENDED]) & ~under_way
