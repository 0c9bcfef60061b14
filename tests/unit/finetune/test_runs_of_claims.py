"""A claim and the run under it, as those see them who tend it: one worker, asked of by anybody, told once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from services.common.database.clock import now
from services.finetune.database.schema import JOBS
from services.finetune.jobs.claims import Claims, Fenced, Report
from services.finetune.jobs.job import Executor, Happening, Kind
from services.finetune.jobs.records import JobRecords
from tests.unit.finetune.test_jobs import SPEC, lose_lease, queued, running


@pytest.fixture
def records(database):
    return JobRecords(database)


@pytest.fixture
def worker(database):
    return Claims(database, "first")


@pytest.fixture
def other(database):
    return Claims(database, "second")


def test_one_process_works_under_a_claim(records, worker):
    """Kubernetes may start a Pod twice."""
    queued(records, worker)
    claim = worker.next("local", 0)
    worker.begin(claim)
    with pytest.raises(Fenced, match="another process works"):
        worker.begin(claim)
    worker.report(claim, Report(step=1, number=2))
    assert records.get("local", claim.job.job_id).step == 1


def test_who_has_a_job_can_be_asked_by_anybody(records, worker, other, database):
    claim = running(records, worker)
    of = (claim.job.tenant, claim.job.job_id, "first")
    held = other.held(*of, claim.epoch)
    assert (held.claim.owner, held.claim.epoch, held.is_silent) == ("first", claim.epoch, False)
    assert other.held(*of, claim.epoch - 1) is None
    lose_lease(database, claim)
    assert not other.held(*of, claim.epoch).is_silent, "late, but not for long"
    long_ago = update(JOBS).values(lease_until=now(-1000))
    database.write(lambda connection: connection.execute(long_ago))
    assert other.held(*of, claim.epoch).is_silent
    other.next("local", 0)
    assert other.held(*of, claim.epoch) is None


def test_jobs_are_left_to_services_that_have_their_executor(records, worker):
    records.create("local", replace(SPEC, executor=Executor.KUBERNETES))
    assert worker.unchecked([Executor.LOCAL]) is None
    assert worker.unchecked([Executor.LOCAL, Executor.KUBERNETES]) is not None


def test_a_death_is_told_once(records, worker, other):
    claim = running(records, worker)
    line = Happening(Kind.LOG, {"level": "warning", "text": "exit code 1"})
    for each in (worker, other):
        each.abandon(claim, [line])
    found, _ = records.events("local", claim.job.job_id, 0, 1000)
    assert sum(each.kind is Kind.LOG for each in found) == 1
