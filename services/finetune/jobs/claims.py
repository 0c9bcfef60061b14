"""Jobs as those see them who work on them: claimed by a lease, written under a fence.

A claim raises the job's epoch, and every write of a worker carries it: one that was frozen while another took
its job over matches nothing when it wakes, and is told so (``Fenced``). All times are the database's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, select, update
from sqlalchemy.sql import ColumnElement

from services.common.database.clock import now
from services.common.database.database import Database
from services.finetune.database.schema import JOBS
from services.finetune.jobs import rows
from services.finetune.jobs.job import Executor, Happening, Job, JobError, Kind, Progress
from services.finetune.jobs.order import waiting
from services.finetune.jobs.states import ACTIVE, ENDED, State

T = TypeVar("T")

LEASE_SECONDS = 30.0
"""For which a job is its worker's without a heartbeat."""
MOST_VAIN = 5
"""Attempts that end without one step done; after them a job is not tried again."""
FIRST_REPORT = 1
"""Number of a worker's first word, that it has begun."""
_OVER: Mapping[str, Any] = {
    "lease_owner": None,
    "lease_until": None,
    "cancel_requested": False,
    "pause_requested": False,
}
"""Of a job that nobody works on: what its owner wanted is done."""


class Fenced(Exception):
    """Somebody else has the job now, or it is gone: stop working on it, and write nothing more."""


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until the lease runs out."""

    job: Job
    owner: str
    epoch: int


@dataclass(frozen=True)
class Held:
    """A claim that still holds, and what is known of its run."""

    claim: Claim
    handle: str
    """What the executor calls it; "" while that was not written down."""
    is_silent: bool
    """Whether nothing was heard of it for twice the time of a lease."""


@dataclass(frozen=True)
class Wishes:
    """What a job's owner wants of it meanwhile."""

    cancel: bool
    pause: bool


@dataclass(frozen=True)
class Report:
    """What a worker has to say of its job. None and empty: nothing new."""

    happened: Sequence[Happening] = ()
    state: State | None = None
    error: JobError | None = None
    step: int | None = None
    remaining_seconds: float | None = None
    metrics: Mapping[str, float] | None = None
    progress: Progress | None = None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Other columns, for example ``best_checkpoint_id``."""
    also: Callable[[Connection], None] | None = None
    """What else is written in the same transaction; may raise ServiceError, and nothing is written then."""
    number: int = 0
    """2, 3, 4 … within a claim: one that was written before is not written again. 0: not counted."""


News = Callable[[rows.Row], Report]
"""What there is to say of a job as its row stands, in the same transaction."""


class Claims:
    """Work on jobs. Blocking; any number of processes may share the database."""

    def __init__(self, database: Database, owner: str, lease_seconds: float = LEASE_SECONDS) -> None:
        """``owner``: this process, told from all others."""
        self.owner = owner
        self._database = database
        self._seconds = lease_seconds

    def unchecked(self, executors: Iterable[str] = tuple(Executor)) -> Claim | None:
        """A job to validate whose validation nobody is at, of those that ``executors`` are to run."""

        def task(connection: Connection) -> Claim | None:
            is_free = JOBS.c.lease_until.is_(None) | (JOBS.c.lease_until < now())
            known = JOBS.c.executor.in_(executors)
            query = select(JOBS).where(JOBS.c.state == State.VALIDATING.value, is_free, known)
            for found in list(connection.execute(query.order_by(JOBS.c.created_at)).mappings()):
                if not self._is_over(connection, found):
                    return self._taken(connection, found, None)
            return None

        return self._database.write(task)

    def next(self, executor: str, accelerators: int) -> Claim | None:
        """A job to run: one whose worker is gone, else the first in the queue with so few ``accelerators``.

        Of jobs of the same priority those of the tenant with the fewest at work come first. A job that was
        tried in vain too often fails, and one whose owner wanted it to stop does.
        """

        def task(connection: Connection) -> Claim | None:
            for found in self._left_behind(connection, executor):
                if not self._is_over(connection, found):
                    return self._taken(connection, found, State.PREPARING)
            query = waiting(executor, accelerators).limit(1)
            first = connection.execute(query).mappings().first()
            return None if first is None else self._taken(connection, first, State.PREPARING)

        return self._database.write(task)

    def held(self, tenant: str, job_id: str, owner: str, epoch: int) -> Held | None:
        """The claim of ``owner`` on a job, whoever asks; None when it holds no more."""

        def task(connection: Connection) -> Held | None:
            is_silent = (JOBS.c.lease_until < now(-self._seconds)).label("is_silent")
            is_held = (JOBS.c.epoch == epoch) & (JOBS.c.lease_owner == owner)
            query = select(JOBS, is_silent).where(rows.this(tenant, job_id), is_held)
            found = connection.execute(query).mappings().one_or_none()
            if found is None:
                return None
            claim = Claim(rows.job_of(found, connection), owner, epoch)
            return Held(claim, found["handle"], bool(found["is_silent"]))

        return self._database.read(task)

    def begin(self, claim: Claim) -> None:
        """Work under it, this process and no other: Kubernetes may start one twice. Raises Fenced."""

        def task(connection: Connection) -> None:
            found = self._mine(connection, claim)
            if found["reports"]:
                raise Fenced(f"another process works on job {claim.job.job_id} under the same claim")
            values = {"reports": FIRST_REPORT, "lease_until": now(self._seconds)}
            connection.execute(update(JOBS).where(_held(claim)).values(**values))

        self._database.write(task)

    def heartbeat(self, claim: Claim, report: Report | News | None = None) -> Wishes:
        """Keep the lease, with what there is to say meanwhile; hear what is wanted. Raises Fenced."""

        def task(connection: Connection) -> Wishes:
            found = self._mine(connection, claim)
            said = report(found) if callable(report) else report
            if said is not None:
                self._write(connection, found, said)
            mine = rows.this(found["tenant"], found["job_id"])
            connection.execute(update(JOBS).where(mine).values(lease_until=now(self._seconds)))
            return Wishes(bool(found["cancel_requested"]), bool(found["pause_requested"]))

        return self._database.write(task)

    def report(self, claim: Claim, report: Report) -> Job:
        """Write what happened; a state in which nobody works ends the claim. Raises Fenced.

        An end in failure or success that comes while a cancel is wanted counts as it is; a job that goes to
        the queue while its owner wants it to stop goes on to where that wish leads.
        """

        def task(connection: Connection, found: rows.Row) -> Job:
            self._write(connection, found, report)
            return rows.get(connection, found["tenant"], found["job_id"])

        return self.under(claim, task)

    def give_back(self, claim: Claim) -> None:
        """Leave a job that waits to whoever looks next; it does not count as an attempt. Nothing raises."""
        values = {"lease_until": None, "lease_owner": None, "vain_attempts": JOBS.c.vain_attempts - 1}
        self._database.write(
            lambda connection: connection.execute(update(JOBS).where(_held(claim)).values(**values))
        )

    def abandon(self, claim: Claim, happened: Sequence[Happening] = ()) -> None:
        """The claim's worker is dead: whoever looks next takes the job over, and hears what ``happened``.

        Nothing happens to another's, nor to one that was abandoned before.
        """

        def task(connection: Connection) -> None:
            alive = select(JOBS).where(_held(claim), JOBS.c.lease_until >= now())
            found = connection.execute(alive).mappings().one_or_none()
            if found is not None:
                rows.change(connection, found, {"lease_until": now(-1.0)}, happened)

        self._database.write(task)

    def under(self, claim: Claim, task: Callable[[Connection, rows.Row], T]) -> T:
        """What ``task`` makes of the job's row, as one of its worker's writes. Raises Fenced."""
        return self._database.write(lambda connection: task(connection, self._mine(connection, claim)))

    @staticmethod
    def _write(connection: Connection, found: rows.Row, report: Report) -> None:
        if report.number and report.number <= found["reports"]:
            return  # its commit was not heard of, and it is repeated
        if report.also is not None:
            report.also(connection)
        values = _columns(report, found)
        rows.change(connection, found, values, report.happened, report.state, report.error)
        if report.state is State.QUEUED and (found["cancel_requested"] or found["pause_requested"]):
            waits = rows.row(connection, found["tenant"], found["job_id"])
            end = State.CANCELLED if found["cancel_requested"] else State.PAUSED
            rows.change(connection, waits, {}, state=end)

    def _mine(self, connection: Connection, claim: Claim) -> rows.Row:
        """The row of a claim that still holds."""
        found = connection.execute(select(JOBS).where(_held(claim))).mappings().one_or_none()
        if found is None:
            raise Fenced(f"job {claim.job.job_id} is no longer {claim.owner}'s")
        return found

    def _left_behind(self, connection: Connection, executor: str) -> list[rows.Row]:
        """Jobs at work whose lease has run out."""
        late = JOBS.c.state.in_([each.value for each in ACTIVE]) & (JOBS.c.lease_until < now())
        query = select(JOBS).where(late, JOBS.c.executor == executor).order_by(JOBS.c.lease_until)
        return list(connection.execute(query).mappings())

    def _is_over(self, connection: Connection, found: rows.Row) -> bool:
        """End a job that was left behind, where there is no point in going on."""
        is_checked = found["state"] != State.VALIDATING.value  # only then there is something to pause
        if found["cancel_requested"]:
            rows.change(connection, found, _OVER, state=State.CANCELLED)
        elif found["pause_requested"] and is_checked:
            rows.change(connection, found, _OVER, state=State.PAUSED)
        elif found["vain_attempts"] >= MOST_VAIN:
            why = f"whoever worked on it died {found['vain_attempts']} times without one step done"
            rows.change(connection, found, _OVER, state=State.FAILED, error=JobError("CRASHED", why))
        else:
            return False
        return True

    def _taken(self, connection: Connection, found: rows.Row, state: State | None) -> Claim:
        epoch = found["epoch"] + 1
        values: dict[str, Any] = {
            "lease_owner": self.owner,
            "lease_until": now(self._seconds),
            "epoch": epoch,
            "reports": 0,
            "handle": "",
            "vain_attempts": found["vain_attempts"] + 1,
        }
        happened: list[Happening] = []
        if state is not None:
            attempts = found["attempts"] + 1
            values["attempts"] = attempts
            if State(found["state"]) in ACTIVE:
                text = f"its worker {found['lease_owner']} is gone; attempt {attempts} goes on"
                happened.append(Happening(Kind.LOG, {"level": "warning", "text": text}))
        rows.change(connection, found, values, happened, state)
        return Claim(rows.get(connection, found["tenant"], found["job_id"]), self.owner, epoch)


def _held(claim: Claim) -> ColumnElement[bool]:
    """The condition for the job of a claim that still holds."""
    mine = rows.this(claim.job.tenant, claim.job.job_id)
    return mine & (JOBS.c.epoch == claim.epoch) & (JOBS.c.lease_owner == claim.owner)


def _columns(report: Report, found: rows.Row) -> dict[str, Any]:
    """What a report changes of a job's row, besides its state."""
    values = dict(report.values)
    if report.number:
        values["reports"] = report.number
    if report.step is not None and report.step > found["step"]:
        values |= {"step": report.step, "vain_attempts": 0}
    for name in ("remaining_seconds", "metrics"):
        if getattr(report, name) is not None:
            values[name] = getattr(report, name)
    if report.progress is not None:
        values["progress"] = dataclasses.asdict(report.progress)
    if report.state in ENDED or report.state in (State.QUEUED, State.PAUSED):
        values |= {**_OVER, "handle": "", "vain_attempts": 0}
    if report.state is State.RUNNING and found["started_at"] is None:
        values["started_at"] = now()
    return values
