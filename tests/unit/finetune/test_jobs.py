"""Jobs in the database, on both databases: created once, claimed by one, fenced, every change an event."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import update

from pequod.finetune import v1
from services.common.database.clock import now
from services.common.errors import Code, Reason, ServiceError
from services.common.store.reference import is_name
from services.finetune.database.schema import JOBS
from services.finetune.jobs import records as job_records
from services.finetune.jobs.claims import MOST_VAIN, Claims, Fenced, Report
from services.finetune.jobs.job import Happening, JobError, Kind, Progress, Resources, Spec, Webhook
from services.finetune.jobs.records import Filter, JobRecords
from services.finetune.jobs.serving.events import event_message
from services.finetune.jobs.serving.replies import no_pictures
from services.finetune.jobs.states import State

SPEC = Spec(
    recipe="ngram", dataset_id="ds-x", parameters={"order": 3}, steps=10, name="n", labels={"team": "a"}
)


@pytest.fixture
def records(database):
    return JobRecords(database)


@pytest.fixture
def worker(database):
    return Claims(database, "first")


@pytest.fixture
def other(database):
    return Claims(database, "second")


def queued(records, worker, spec=SPEC, tenant="local"):
    """A job that has been validated."""
    job, _ = records.create(tenant, spec)
    claim = worker.unchecked()
    assert claim.job.job_id == job.job_id
    return worker.report(claim, Report(state=State.QUEUED))


def running(records, worker, **more):
    queued(records, worker, **more)
    claim = worker.next("local", 0)
    worker.report(claim, Report(state=State.RUNNING))
    return claim


def lose_lease(database, claim):
    """Its worker is not heard of any more."""
    late = update(JOBS).where(JOBS.c.job_id == claim.job.job_id).values(lease_until=now(-1))
    database.write(lambda connection: connection.execute(late))


def states(records, job_id):
    events, job = records.events("local", job_id, 0, 1000)
    assert [each.number for each in events] == list(range(1, job.last_event + 1))
    assert [each.time for each in events] == sorted(each.time for each in events)
    return [State(each.data["to"]) for each in events if each.kind is Kind.STATE]


def test_a_job_goes_through_its_states(records, worker):
    claim = running(records, worker)
    job_id = claim.job.job_id
    worker.report(claim, Report(step=4, metrics={"loss": 0.5}, remaining_seconds=6.0))
    worker.report(claim, Report(state=State.EVALUATING, progress=Progress(1, 3, "scoring")))
    seen = records.get("local", job_id)
    assert (seen.step, seen.metrics, seen.progress) == (4, {"loss": 0.5}, Progress(1, 3, "scoring"))
    worker.report(claim, Report(state=State.SUCCEEDED, values={"model": "mine:1"}))
    ended = records.get("local", job_id)
    assert (ended.state, ended.model, ended.attempts, ended.remaining_seconds) == (
        State.SUCCEEDED,
        "mine:1",
        1,
        0.0,
    )
    assert ended.create_time <= ended.start_time <= ended.end_time
    assert states(records, job_id) == [
        State.VALIDATING,
        State.QUEUED,
        State.PREPARING,
        State.RUNNING,
        State.EVALUATING,
        State.SUCCEEDED,
    ]
    with pytest.raises(Fenced):
        worker.heartbeat(claim)


def test_a_move_that_there_is_not_changes_nothing(records, worker):
    claim = running(records, worker)
    before = records.get("local", claim.job.job_id)
    with pytest.raises(ValueError, match="is running; it cannot become succeeded"):
        worker.report(claim, Report(state=State.SUCCEEDED, step=5))
    assert records.get("local", claim.job.job_id) == before


def test_a_spec_comes_back_as_it_was(records):
    hook = Webhook("https://example.org/x", "s" * 16, (State.FAILED,))
    spec = replace(SPEC, webhooks=(hook,), resources=Resources(accelerators=2, cpu_cores=1.5))
    job, existed = records.create("local", spec)
    assert not existed
    assert records.get("local", job.job_id).spec == spec


@pytest.mark.parametrize(
    ("recipe", "base", "name"),
    [
        ("pretrain_lm", "", "pretrain_lm"),
        ("dreambooth", "peeps-diffusion@production", "peeps-diffusion"),
        ("lora_lm", "storyteller:1", "storyteller"),
        ("lora_lm", "hf:Meta/Llama-3..1@main", "llama-3.1-main"),
        ("lora_lm", "file:/models/Tiny Model/", "lora_lm"),
    ],
)
def test_a_result_without_a_name_is_called_after_its_base(records, recipe, base, name):
    job, _ = records.create("local", replace(SPEC, recipe=recipe, base=base, name=""))
    assert job.spec.name == f"{name}-{job.job_id}"
    assert is_name(job.spec.name)


def test_creating_twice_makes_one_job(records):
    key = "2f1e6c1e-0000-4000-8000-000000000000"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: records.create("local", SPEC, key), range(8)))
    assert len({job.job_id for job, _ in made}) == 1
    assert sorted(existed for _, existed in made) == [False] + [True] * 7
    with pytest.raises(ServiceError) as caught:
        records.create("local", replace(SPEC, steps=11), key)
    assert (caught.value.code, caught.value.reason) == (Code.ALREADY_EXISTS, Reason.ID_REUSED)
    stranger, existed = records.create("other", SPEC, key)
    assert not existed
    assert stranger.job_id != made[0][0].job_id


def test_a_job_knows_the_trace_of_the_call_that_made_it(records):
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "them=1"}
    traced, _ = records.create("local", SPEC, trace=trace)
    other, _ = records.create("local", SPEC)
    assert records.trace("local", traced.job_id) == trace
    assert records.trace("local", other.job_id) == {}
    (first,), _ = records.events("local", traced.job_id, 0, 10)
    assert event_message(first, no_pictures).state.to == v1.JOB_STATE_VALIDATING  # and nothing else of it


def test_nobody_sees_another_tenants_jobs(records, worker):
    claim = running(records, worker)
    for call in (
        records.get,
        records.cancel,
        records.pause,
        records.resume,
        records.delete,
        lambda *at: records.events(*at, 0, 9),
    ):
        with pytest.raises(ServiceError) as caught:
            call("other", claim.job.job_id)
        assert caught.value.code == Code.NOT_FOUND
    assert records.page("other", 10).jobs == []


def test_many_workers_claim_each_job_once(database, records, worker):
    made = {queued(records, worker).job_id for _ in range(12)}
    claimed, lock = [], threading.Lock()

    def work(number):
        claims = Claims(database, f"worker {number}")
        while claim := claims.next("local", 0):
            with lock:
                claimed.append(claim.job.job_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(made)


def test_whoever_was_thought_dead_writes_nothing_more(database, records, worker, other):
    claim = running(records, worker)
    worker.report(claim, Report(step=3))
    assert other.next("local", 0) is None
    lose_lease(database, claim)
    taken = other.next("local", 0)
    assert (taken.job.job_id, taken.epoch, taken.job.attempts) == (claim.job.job_id, claim.epoch + 1, 2)
    for write in (worker.heartbeat, lambda each: worker.report(each, Report(step=9))):
        with pytest.raises(Fenced, match="no longer first's"):
            write(claim)
    assert records.get("local", claim.job.job_id).step == 3
    other.report(taken, Report(state=State.RUNNING, step=4))
    events, _ = records.events("local", claim.job.job_id, 0, 100)
    assert "its worker first is gone; attempt 2 goes on" in [each.data.get("text") for each in events]


def test_a_late_worker_goes_on_while_nobody_has_its_job(database, records, worker):
    claim = running(records, worker)
    lose_lease(database, claim)
    worker.heartbeat(claim)
    assert Claims(database, "second").next("local", 0) is None


def test_a_job_that_kills_its_workers_fails_in_the_end(database, records, worker, other):
    claim = running(records, worker)
    for attempt in range(2, MOST_VAIN + 1):
        lose_lease(database, claim)
        claim = other.next("local", 0)
        assert claim.job.attempts == attempt
    lose_lease(database, claim)
    assert other.next("local", 0) is None
    job = records.get("local", claim.job.job_id)
    assert (job.state, job.error.reason) == (State.FAILED, "CRASHED")


def test_a_job_that_kills_those_who_validate_it_fails_in_the_end(database, records, worker):
    records.create("local", SPEC)
    for _ in range(MOST_VAIN):
        claim = worker.unchecked()
        lose_lease(database, claim)
    assert worker.unchecked() is None
    job = records.get("local", claim.job.job_id)
    assert (job.state, job.error.reason, job.attempts) == (State.FAILED, "CRASHED", 0)


@pytest.mark.parametrize(("wish", "end"), [("cancel", State.CANCELLED), ("pause", State.PAUSED)])
def test_a_wish_during_validation_is_kept(database, records, worker, wish, end):
    job, _ = records.create("local", SPEC)
    claim = worker.unchecked()
    assert getattr(records, wish)("local", job.job_id).state is State.VALIDATING
    told = worker.report(claim, Report(state=State.QUEUED))
    assert (told.state, told.cancel_requested, told.pause_requested) == (end, False, False)
    assert states(records, job.job_id) == [State.VALIDATING, State.QUEUED, end]
    assert worker.next("local", 0) is None


def test_a_pause_waits_for_a_validation_that_another_has_to_repeat(database, records, worker, other):
    job, _ = records.create("local", SPEC)
    claim = worker.unchecked()
    records.pause("local", job.job_id)
    lose_lease(database, claim)
    assert other.report(other.unchecked(), Report(state=State.QUEUED)).state is State.PAUSED


def test_steps_that_were_done_give_it_new_attempts(database, records, worker, other):
    claim = running(records, worker)
    for step in range(1, 8):
        worker_now = other if step % 2 else worker
        lose_lease(database, claim)
        claim = worker_now.next("local", 0)
        worker_now.report(claim, Report(state=State.RUNNING, step=step))
    assert records.get("local", claim.job.job_id).attempts == 8


def test_the_queue_goes_by_priority_then_by_tenants_then_by_time(records, worker):
    first = queued(records, worker)
    second = queued(records, worker)
    stranger = queued(records, worker, tenant="other")
    urgent = queued(records, worker, spec=replace(SPEC, priority=5))
    large = queued(records, worker, spec=replace(SPEC, priority=9, resources=Resources(accelerators=2)))
    assert [records.get("local", each.job_id).queue_position for each in (large, urgent, first, second)] == [
        0,
        1,
        2,
        3,
    ]
    order = [worker.next("local", 1).job.job_id for _ in range(4)]
    # The other tenant has nothing at work, while this one has the urgent job.
    assert order == [each.job_id for each in (urgent, stranger, first, second)]
    assert worker.next("local", 1) is None
    assert worker.next("kubernetes", 8) is None
    assert worker.next("local", 2).job.job_id == large.job_id


@pytest.mark.parametrize("is_queued", [True, False])
def test_a_job_that_waits_is_cancelled_at_once(records, worker, is_queued):
    job = queued(records, worker) if is_queued else records.create("local", SPEC)[0]
    ended = records.cancel("local", job.job_id)
    assert (ended.state, ended.cancel_requested) == (State.CANCELLED, False)
    assert records.cancel("local", job.job_id) == ended
    assert worker.next("local", 0) is None
    assert worker.unchecked() is None


def test_a_job_at_work_hears_that_it_is_cancelled(records, worker):
    claim = running(records, worker)
    assert records.cancel("local", claim.job.job_id).cancel_requested
    wishes = worker.heartbeat(claim)
    assert (wishes.cancel, wishes.pause) == (True, False)
    job = worker.report(claim, Report(state=State.CANCELLED))
    assert not job.cancel_requested
    with pytest.raises(ServiceError, match="is cancelled and cannot be resumed"):
        records.resume("local", job.job_id)


@pytest.mark.parametrize(("wish", "end"), [("cancel", State.CANCELLED), ("pause", State.PAUSED)])
def test_wishes_outlive_the_worker_that_did_not_hear_them(database, records, worker, other, wish, end):
    claim = running(records, worker)
    getattr(records, wish)("local", claim.job.job_id)
    lose_lease(database, claim)
    assert other.next("local", 0) is None
    assert records.get("local", claim.job.job_id).state is end


def test_a_pause_and_on_again(records, worker):
    claim = running(records, worker)
    job_id = claim.job.job_id
    assert records.pause("local", job_id).pause_requested
    assert worker.heartbeat(claim).pause
    assert not records.resume("local", job_id).pause_requested  # changed one's mind in time
    assert not worker.heartbeat(claim).pause
    records.pause("local", job_id)
    worker.report(claim, Report(state=State.PAUSED, error=JobError("DISK_FULL", "the disk is full")))
    paused = records.get("local", job_id)
    assert (paused.state, paused.error.reason, paused.pause_requested) == (State.PAUSED, "DISK_FULL", False)
    resumed = records.resume("local", job_id)
    assert (resumed.state, resumed.error) == (State.QUEUED, None)
    assert records.pause("local", job_id).state is State.PAUSED
    assert records.resume("local", job_id).state is State.QUEUED
    assert worker.next("local", 0).job.attempts == 2


def test_events_are_read_from_any_number_on(records, worker):
    claim = running(records, worker)
    lines = [Happening(Kind.LOG, {"level": "info", "text": f"{number}"}) for number in range(5)]
    worker.report(claim, Report(happened=lines))
    everything, job = records.events("local", claim.job.job_id, 0, 100)
    assert job.last_event == len(everything) == 9
    some, _ = records.events("local", claim.job.job_id, 5, 2)
    assert some == everything[5:7]
    assert records.events("local", claim.job.job_id, 9, 10)[0] == []


def test_pages_and_filters(records, worker):
    made = [
        records.create("local", replace(SPEC, recipe=recipe, labels={"n": f"{number % 2}"}))[0].job_id
        for number, recipe in enumerate(["ngram", "word2vec", "ngram", "lora_lm", "ngram"])
    ]
    newest = made[::-1]
    first = records.page("local", 2)
    assert ([each.job_id for each in first.jobs], first.more) == (newest[:2], True)
    last = first.jobs[-1]
    rest = records.page("local", 3, (last.create_time, last.job_id))
    assert ([each.job_id for each in rest.jobs], rest.more) == (newest[2:], False)

    def found(**only):
        return [each.job_id for each in records.page("local", 10, only=Filter(**only)).jobs]

    assert found(recipe="ngram") == [made[4], made[2], made[0]]
    assert found(labels={"n": "1"}) == [made[3], made[1]]
    assert found(states=frozenset({State.QUEUED})) == []
    worker.report(worker.unchecked(), Report(state=State.QUEUED))
    assert found(states=frozenset({State.QUEUED})) == [made[0]]


def test_labels_are_found_among_many(records, monkeypatch):
    monkeypatch.setattr(job_records, "_AT_ONCE", 5)
    for number in range(18):
        records.create("local", replace(SPEC, labels={"rare": "yes"} if number in (0, 7) else {}))
    page = records.page("local", 1, only=Filter(labels={"rare": "yes"}))
    assert (len(page.jobs), page.more) == (1, True)
    last = page.jobs[0]
    page = records.page("local", 1, (last.create_time, last.job_id), Filter(labels={"rare": "yes"}))
    assert (len(page.jobs), page.more) == (1, False)


def test_only_what_has_ended_is_deleted(records, worker):
    claim = running(records, worker)
    with pytest.raises(ServiceError, match="is running; cancel it first") as caught:
        records.delete("local", claim.job.job_id)
    assert caught.value.code == Code.FAILED_PRECONDITION
    worker.report(claim, Report(state=State.FAILED, error=JobError("X", "because")))
    assert records.delete("local", claim.job.job_id).error == JobError("X", "because")
    with pytest.raises(ServiceError, match="no job"):
        records.get("local", claim.job.job_id)
