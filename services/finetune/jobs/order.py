"""The order of the queue."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, select

from services.finetune.database.schema import JOBS
from services.finetune.jobs.states import ACTIVE, State


def waiting(executor: str, accelerators: int) -> Select[Any]:
    """Rows of jobs that wait for an executor and want no more accelerators, the next one first."""
    active = [each.value for each in ACTIVE]
    count = func.count().label("count")
    busy = select(JOBS.c.tenant, count).where(JOBS.c.state.in_(active)).group_by(JOBS.c.tenant).subquery()
    return (
        select(JOBS)
        .join(busy, busy.c.tenant == JOBS.c.tenant, isouter=True)
        .where(JOBS.c.state == State.QUEUED.value, JOBS.c.executor == executor)
        .where(JOBS.c.accelerators <= accelerators)
        .order_by(JOBS.c.priority.desc(), func.coalesce(busy.c.count, 0), JOBS.c.created_at, JOBS.c.job_id)
    )
