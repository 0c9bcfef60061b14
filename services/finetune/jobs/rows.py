"""Jobs between rows and objects, and the one way in which a row changes: with its event."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.sql import ColumnElement

from services.common.database.clock import now
from services.common.errors import Code, Reason, ServiceError
from services.common.hiding import hidden
from services.finetune.database.schema import JOB_EVENTS, JOBS
from services.finetune.datasets.records import let_go_of_all
from services.finetune.jobs.job import Event, Happening, Job, JobError, Kind, Progress, Spec
from services.finetune.jobs.states import ENDED, NEXT, State
from services.finetune.webhooks.outbox import enqueue

Row = Mapping[Any, Any]


def this(tenant: str, job_id: str) -> ColumnElement[bool]:
    """The condition for one job."""
    return (JOBS.c.tenant == tenant) & (JOBS.c.job_id == job_id)


def holder_name(job_id: str) -> str:
    """Who holds the data sets of a job."""
    return f"job {job_id}"


def row(connection: Connection, tenant: str, job_id: str) -> Row:
    """Its row. Raises NOT_FOUND."""
    found = connection.execute(select(JOBS).where(this(tenant, job_id))).mappings().one_or_none()
    if found is None:
        raise ServiceError(
            Code.NOT_FOUND, Reason.JOB_NOT_FOUND, f"no job {job_id!r}", resource=("job", job_id)
        )
    return found


def get(connection: Connection, tenant: str, job_id: str) -> Job:
    """One job. Raises NOT_FOUND."""
    return job_of(row(connection, tenant, job_id), connection)


def job_of(found: Row, connection: Connection) -> Job:
    """As an object; for a job that waits, with its place in the queue."""
    state = State(found["state"])
    return Job(
        tenant=found["tenant"],
        job_id=found["job_id"],
        spec=Spec.of_json(found["spec"]),
        state=state,
        error=JobError(**found["error"]) if found["error"] else None,
        progress=Progress(**found["progress"]) if found["progress"] else None,
        step=found["step"],
        remaining_seconds=found["remaining_seconds"],
        metrics=found["metrics"],
        forecast=found["forecast"],
        best_checkpoint_id=found["best_checkpoint_id"],
        promoted_checkpoint_id=found["promoted_checkpoint_id"],
        model=found["model"],
        dataset_digest=found["dataset_digest"],
        base_version=found["base_version"],
        attempts=found["attempts"],
        last_event=found["last_event"],
        queue_position=_before(connection, found) if state is State.QUEUED else 0,
        create_time=found["created_at"],
        start_time=found["started_at"],
        end_time=found["ended_at"],
        cancel_requested=found["cancel_requested"],
        pause_requested=found["pause_requested"],
    )


def event_of(found: Row) -> Event:
    """As an object."""
    return Event(found["number"], found["happened_at"], Kind(found["kind"]), found["data"])


def change(
    connection: Connection,
    found: Row,
    values: Mapping[str, Any],
    happened: Sequence[Happening] = (),
    state: State | None = None,
    error: JobError | None = None,
) -> None:
    """Set columns of a job, move it to ``state``, and append what happened to its events.

    Why it ended and what happened may be told in words of other programs: secrets are taken out of them.
    Raises ValueError for a move that there is not.
    """
    set_, events = dict(values), [_without_secrets(each) for each in happened]
    if error is not None:
        error = dataclasses.replace(error, message=hidden(error.message))
    if state is not None:
        events.append(_moved(found, state, error))
        set_ |= {"state": state.value, "error": dataclasses.asdict(error) if error else None}
        set_.setdefault("progress", None)  # an earlier state's
        if state in ENDED:
            set_ |= {"ended_at": now(), "remaining_seconds": 0.0, "lease_owner": None, "lease_until": None}
    first = found["last_event"] + 1
    set_["last_event"] = found["last_event"] + len(events)
    connection.execute(update(JOBS).where(this(found["tenant"], found["job_id"])).values(set_))
    if state is not None:
        enqueue(connection, {**found, **values}, state, error, set_["last_event"])
    if state in ENDED:
        let_go_of_all(connection, found["tenant"], holder_name(found["job_id"]))
    if events:
        mine = {"tenant": found["tenant"], "job_id": found["job_id"], "happened_at": now()}
        rows = [
            {**mine, "number": first + place, "kind": each.kind.value, "data": dict(each.data)}
            for place, each in enumerate(events)
        ]
        connection.execute(insert(JOB_EVENTS).values(rows))


def created(connection: Connection, values: Mapping[str, Any], trace: Mapping[str, str]) -> None:
    """A new job, with its first event, where the trace context of the call that asked is kept."""
    connection.execute(insert(JOBS).values(**values, created_at=now(), last_event=1))
    first = {"from": None, "to": values["state"], "error": None, **({"trace": dict(trace)} if trace else {})}
    connection.execute(
        insert(JOB_EVENTS).values(
            tenant=values["tenant"],
            job_id=values["job_id"],
            number=1,
            happened_at=now(),
            kind=Kind.STATE.value,
            data=first,
        )
    )


def _without_secrets(happened: Happening) -> Happening:
    data = {name: hidden(each) if isinstance(each, str) else each for name, each in happened.data.items()}
    return dataclasses.replace(happened, data=data)


def _moved(found: Row, state: State, error: JobError | None) -> Happening:
    before = State(found["state"])
    if state not in NEXT[before]:
        raise ValueError(f"job {found['job_id']} is {before}; it cannot become {state}")
    said = dataclasses.asdict(error) if error else None
    return Happening(Kind.STATE, {"from": before.value, "to": state.value, "error": said})


def _before(connection: Connection, found: Row) -> int:
    """How many jobs of all tenants have a higher priority, or the same and wait for longer."""
    same = JOBS.c.priority == found["priority"]
    earlier = JOBS.c.created_at < found["created_at"]
    tie = (JOBS.c.created_at == found["created_at"]) & (JOBS.c.job_id < found["job_id"])
    first = (JOBS.c.priority > found["priority"]) | (same & (earlier | tie))
    query = select(func.count()).select_from(JOBS).where(JOBS.c.state == State.QUEUED.value, first)
    return int(connection.scalars(query).one())
