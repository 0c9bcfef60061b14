"""Jobs as those see them who ask for them: created, listed, followed, stopped, deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, tuple_

from services.common.database.database import Database
from services.common.errors import Code, Reason, ServiceError
from services.finetune.database.schema import JOB_EVENTS, JOBS
from services.finetune.jobs import rows
from services.finetune.jobs.job import Event, Job, Kind, Spec, new_job_id, output_name
from services.finetune.jobs.states import ACTIVE, ENDED, State

_AT_ONCE = 200
"""Rows that are looked through together where labels are asked for."""


_PLACE = (JOBS.c.created_at.type, JOBS.c.job_id.type)


@dataclass(frozen=True)
class Filter:
    """Which jobs are listed."""

    states: frozenset[State] = frozenset()
    """Empty: all."""
    recipe: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """Jobs, newest first; ``more``: there are others after the last."""

    jobs: Sequence[Job]
    more: bool


class JobRecords:
    """What is known of jobs. Blocking."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        tenant: str,
        spec: Spec,
        request_id: str = "",
        asked: str = "",
        trace: Mapping[str, str] | None = None,
    ) -> tuple[Job, bool]:
        """A job in state VALIDATING; the one that ``request_id`` made before, and True, where there is one.

        ``asked``: hash of what was asked for, before defaults were filled in; the spec's own without one.
        ``trace``: what ``trace`` is to give back.
        Raises ALREADY_EXISTS when ``request_id`` asked for something else.
        """
        sha256 = asked or spec.sha256

        def task(connection: Connection) -> tuple[Job, bool]:
            if (known := _known(connection, tenant, request_id, sha256)) is not None:
                return known, True
            job_id = new_job_id()
            named = replace(spec, name=spec.name or output_name(spec, job_id))
            rows.created(connection, fresh(tenant, job_id, named, request_id, sha256), trace or {})
            return rows.get(connection, tenant, job_id), False

        return self._database.write(task)

    def made_by(self, tenant: str, request_id: str, asked: str) -> Job | None:
        """The job that ``request_id`` made before. Raises as ``create``."""
        return self._database.read(lambda connection: _known(connection, tenant, request_id, asked))

    def get(self, tenant: str, job_id: str) -> Job:
        """One job. Raises NOT_FOUND."""
        return self._database.read(lambda connection: rows.get(connection, tenant, job_id))

    def trace(self, tenant: str, job_id: str) -> Mapping[str, str]:
        """Context of the call that made the job, in W3C's headers; empty where that was not traced."""
        (first, *_), _ = self.events(tenant, job_id, 0, 1)
        return dict(first.data.get("trace", {}))

    def page(
        self, tenant: str, size: int, after: tuple[datetime, str] | None = None, only: Filter | None = None
    ) -> Page:
        """``size`` jobs older than ``after`` (creation time, id) that pass the filter."""
        wanted = only or Filter()

        def task(connection: Connection) -> Page:
            found: list[Job] = []
            place = after
            while len(found) <= size:
                part = self._part(connection, tenant, place, wanted, _AT_ONCE if wanted.labels else size + 1)
                found += [each for each in part if wanted.labels.items() <= each.spec.labels.items()]
                if len(part) < (_AT_ONCE if wanted.labels else size + 1):
                    break
                place = (part[-1].create_time, part[-1].job_id)
            return Page(found[:size], len(found) > size)

        return self._database.read(task)

    def counts(self) -> dict[State, int]:
        """Jobs of all tenants that have not ended, by where they stand."""
        open_ = JOBS.c.state.not_in([each.value for each in ENDED])
        query = select(JOBS.c.state, func.count()).where(open_).group_by(JOBS.c.state)
        found = self._database.read(lambda connection: connection.execute(query).all())
        return {State(state): count for state, count in found}

    def waiting_seconds(self, priority: int) -> float:
        """Work of all that would come before a new job of ``priority``, in seconds as far as it is known."""
        active, queued = [each.value for each in ACTIVE], State.QUEUED.value
        at_work = select(func.coalesce(func.sum(JOBS.c.remaining_seconds), 0.0)).where(
            JOBS.c.state.in_(active) | ((JOBS.c.state == queued) & (JOBS.c.priority >= priority))
        )
        return float(self._database.read(lambda connection: connection.scalars(at_work).one()))

    def events(self, tenant: str, job_id: str, after: int, limit: int) -> tuple[list[Event], Job]:
        """At most ``limit`` events from number ``after`` + 1 on, and the job at that moment."""

        def task(connection: Connection) -> tuple[list[Event], Job]:
            job = rows.get(connection, tenant, job_id)
            mine = (JOB_EVENTS.c.tenant == tenant) & (JOB_EVENTS.c.job_id == job_id)
            query = select(JOB_EVENTS).where(mine, JOB_EVENTS.c.number > after)
            found = connection.execute(query.order_by(JOB_EVENTS.c.number).limit(limit)).mappings()
            return [rows.event_of(each) for each in found], job

        return self._database.read(task)

    def figures(self, tenant: str, job_id: str) -> list[Mapping[str, Any]]:
        """What the events of steps say, in their order."""
        mine = (JOB_EVENTS.c.tenant == tenant) & (JOB_EVENTS.c.job_id == job_id)
        query = select(JOB_EVENTS.c.data).where(mine, JOB_EVENTS.c.kind == Kind.METRICS.value)
        ordered = query.order_by(JOB_EVENTS.c.number)
        return list(self._database.read(lambda connection: connection.scalars(ordered).all()))

    def cancel(self, tenant: str, job_id: str) -> Job:
        """Ended at once where nobody works on it, else as soon as its worker hears of it."""

        def task(connection: Connection) -> Job:
            found = rows.row(connection, tenant, job_id)
            state = State(found["state"])
            if state not in ENDED:
                if _is_worked_on(found):
                    rows.change(connection, found, {"cancel_requested": True})
                else:
                    rows.change(connection, found, {"cancel_requested": False}, state=State.CANCELLED)
            return rows.get(connection, tenant, job_id)

        return self._database.write(task)

    def pause(self, tenant: str, job_id: str) -> Job:
        """Stands still after its next checkpoint, or at once in the queue.

        Raises FAILED_PRECONDITION for a job that has ended.
        """

        def task(connection: Connection) -> Job:
            found = rows.row(connection, tenant, job_id)
            state = State(found["state"])
            if state in ENDED:
                raise _ended(job_id, state, "paused")
            if state is State.QUEUED:
                rows.change(connection, found, {"pause_requested": False}, state=State.PAUSED)
            elif state is not State.PAUSED:
                rows.change(connection, found, {"pause_requested": True})
            return rows.get(connection, tenant, job_id)

        return self._database.write(task)

    def resume(self, tenant: str, job_id: str) -> Job:
        """Back into the queue; a pause that has not happened yet is taken back.

        Raises FAILED_PRECONDITION for a job that has ended.
        """

        def task(connection: Connection) -> Job:
            found = rows.row(connection, tenant, job_id)
            state = State(found["state"])
            if state in ENDED:
                raise _ended(job_id, state, "resumed")
            if state is State.PAUSED:
                again = {"pause_requested": False, "vain_attempts": 0}
                rows.change(connection, found, again, state=State.QUEUED)
            elif found["pause_requested"]:
                rows.change(connection, found, {"pause_requested": False})
            return rows.get(connection, tenant, job_id)

        return self._database.write(task)

    def delete(self, tenant: str, job_id: str) -> Job:
        """Forget a job; returns it as it was. Raises FAILED_PRECONDITION for one that has not ended."""

        def task(connection: Connection) -> Job:
            job = rows.get(connection, tenant, job_id)
            if job.state not in ENDED:
                why = f"job {job_id} is {job.state}; cancel it first"
                raise ServiceError(Code.FAILED_PRECONDITION, Reason.JOB_NOT_ENDED, why)
            connection.execute(delete(JOBS).where(rows.this(tenant, job_id)))
            return job

        return self._database.write(task)

    def _part(
        self,
        connection: Connection,
        tenant: str,
        after: tuple[datetime, str] | None,
        wanted: Filter,
        count: int,
    ) -> list[Job]:
        query = select(JOBS).where(JOBS.c.tenant == tenant)
        if after is not None:
            query = query.where(tuple_(JOBS.c.created_at, JOBS.c.job_id) < tuple_(*after, types=_PLACE))
        if wanted.states:
            query = query.where(JOBS.c.state.in_([each.value for each in wanted.states]))
        if wanted.recipe:
            query = query.where(JOBS.c.recipe == wanted.recipe)
        query = query.order_by(JOBS.c.created_at.desc(), JOBS.c.job_id.desc()).limit(count)
        return [rows.job_of(each, connection) for each in connection.execute(query).mappings()]


def _known(connection: Connection, tenant: str, request_id: str, sha256: str) -> Job | None:
    """What a request made before; none for one without an id. Raises ALREADY_EXISTS."""
    if not request_id:
        return None
    mine = (JOBS.c.tenant == tenant) & (JOBS.c.request_id == request_id)
    known = connection.execute(select(JOBS).where(mine)).mappings().one_or_none()
    if known is None:
        return None
    if known["request_sha256"] != sha256:
        raise _reused(request_id, known["job_id"])
    return rows.job_of(known, connection)


def fresh(tenant: str, job_id: str, spec: Spec, request_id: str, sha256: str) -> dict[str, object]:
    """The columns of a new job."""
    return {
        "tenant": tenant,
        "job_id": job_id,
        "spec": spec.to_json(),
        "recipe": spec.recipe,
        "priority": spec.priority,
        "executor": spec.executor.value,
        "accelerators": spec.resources.accelerators,
        "request_id": request_id or None,
        "request_sha256": sha256,
        "state": State.VALIDATING.value,
        "metrics": {},
        "cancel_requested": False,
        "pause_requested": False,
        "remaining_seconds": 0.0,
        **dict.fromkeys(("step", "attempts", "vain_attempts", "epoch"), 0),
        **dict.fromkeys(("best_checkpoint_id", "promoted_checkpoint_id", "model"), ""),
        **dict.fromkeys(("dataset_digest", "base_version", "handle"), ""),
    }


def _is_worked_on(found: rows.Row) -> bool:
    """Also by one whose lease has run out: whoever takes the job over hears of the wish first."""
    return State(found["state"]) in ACTIVE or found["lease_owner"] is not None


def _reused(request_id: str, job_id: str) -> ServiceError:
    why = f"request_id {request_id!r} made job {job_id} with another spec"
    return ServiceError(Code.ALREADY_EXISTS, Reason.ID_REUSED, why, resource=("job", job_id))


def _ended(job_id: str, state: State, what: str) -> ServiceError:
    why = f"job {job_id} is {state} and cannot be {what}"
    return ServiceError(Code.FAILED_PRECONDITION, Reason.JOB_ENDED, why)
