"""What becomes of a job in each case: ends, stops, full disks; and its checkpoints' order."""

from __future__ import annotations

import io
import json
import logging
import re
import threading

import pytest

from services.common import log
from services.common.errors import Code, Reason, ServiceError
from services.common.store import open_store
from services.finetune.catalogue.entries import RECIPES
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.checkpoints.records import CheckpointRecords
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import open_content
from services.finetune.jobs.claims import Claims, Report
from services.finetune.jobs.job import Kind, Promotion, Resources, Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import State
from services.finetune.orchestrator import tidying
from services.finetune.promotion.promoting import Promoter
from services.finetune.promotion.records import PromotionRecords
from services.finetune.waiting import wait
from services.finetune.worker import following, reporter
from services.finetune.worker import running as worker_running
from services.finetune.worker.preparing import Means, Preparation
from services.finetune.worker.running import Parts, Run
from tests.unit.finetune.fake_recipe import FAKE
from tests.unit.finetune.job_parts import TENANT, events, walk


class Bench:
    """Runs jobs in this process, one at a time."""

    def __init__(self, database, folder):
        self.records, self.claims = JobRecords(database), Claims(database, "bench")
        self.checkpoints = CheckpointRecords(database)
        self.store = open_store(folder / "shipped", str(folder / "models"), folder / "cache")
        self.promoter = Promoter(PromotionRecords(database), self.store)
        content = open_content(str(folder / "datasets"), folder / "cache")
        self.means = Means(DatasetRecords(database, 0), content, self.store, 1)
        self.work = folder / "work"
        self.stopping = threading.Event()

    def create(self, act, **fields):
        spec = Spec(**{"recipe": "fake", "parameters": {"act": act}, "steps": 5, "name": "made", **fields})
        job, _ = self.records.create(TENANT, spec)
        self.claims.report(self.claims.unchecked(), Report(state=State.QUEUED))
        return job.job_id

    def run(self, job_id, meanwhile=lambda: None):
        """Claim it and run it here; ``meanwhile`` happens in another thread."""
        claim = self.claims.next("local", 0)
        assert claim.job.job_id == job_id
        folder = JobFolder(self.work, TENANT, job_id)
        parts = Parts(self.claims, self.records, self.checkpoints, self.promoter, self.means, folder)
        other = threading.Thread(target=meanwhile)
        other.start()
        Run(claim, parts, self.stopping).run()
        other.join()
        return self.records.get(TENANT, job_id)


@pytest.fixture
def bench(database, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "fake", FAKE)
    (tmp_path / "shipped").mkdir()
    return Bench(database, tmp_path)


@pytest.mark.parametrize(
    ("act", "state", "reason", "says"),
    [
        ("diverged", State.FAILED, "DIVERGED", "the last good checkpoint is kept"),
        ("refused", State.FAILED, "RECIPE_FAILED", "the corpus has no chapters"),
        ("full", State.PAUSED, "DISK_FULL", "No space left on device: checkpoint.pt; make room"),
        ("away", State.PAUSED, "STORE_UNREACHABLE", "the store is away"),
    ],
)
def test_each_failure_says_what_it_is(bench, act, state, reason, says):
    job = bench.run(bench.create(act))
    assert (job.state, job.error.reason) == (state, reason)
    assert says in job.error.message


def test_a_bug_shows_an_id_outside_and_its_trace_in_the_log(bench):
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(log.JsonFormatter("worker"))
    logging.getLogger("pequod.worker").addHandler(handler)
    try:
        job = bench.run(bench.create("bug"))
    finally:
        logging.getLogger("pequod.worker").removeHandler(handler)
    assert (job.state, job.error.reason) == (State.FAILED, "INTERNAL")
    error_id = re.fullmatch(r"internal error, request id (\w{16}); .*", job.error.message).group(1)
    told = str([each.data for each in events(bench.records, job.job_id)])
    assert error_id in told
    assert "KeyError" not in told
    assert "oops" not in told
    (line,) = [json.loads(each) for each in written.getvalue().splitlines() if error_id in each]
    assert line["request_id"] == error_id
    assert line["trace"].endswith("KeyError: 'oops'")


def test_a_job_goes_on_once_there_is_room_again(bench):
    job_id = bench.create("full_once")
    paused = bench.run(job_id)
    assert (paused.state, paused.error.reason, paused.step) == (State.PAUSED, "DISK_FULL", 2)
    bench.records.resume(TENANT, job_id)
    assert bench.run(job_id).state is State.SUCCEEDED
    assert walk(bench.records, job_id)[-4:] == ["preparing", "running", "evaluating", "succeeded"]


def away(reason):
    return ServiceError(Code.UNAVAILABLE, reason, "it is away")


def failing(monkeypatch, owner, name, error, times):
    """The first ``times`` calls of a method raise ``error``."""
    whole, left = getattr(owner, name), [error] * times

    def method(*arguments, **options):
        if left:
            raise left.pop()
        return whole(*arguments, **options)

    monkeypatch.setattr(owner, name, method)
    return left


@pytest.fixture
def soon(monkeypatch):
    """Whoever waits for what is away looks again at once."""
    for module in (worker_running, reporter):
        monkeypatch.setattr(module, "_PAUSE", 0.01)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("checkpoints", "all"),
        ("checkpoints", "now"),
        ("claims", "report"),
        ("promoter", "promote"),
        ("records", "get"),
    ],
)
def test_a_database_that_is_away_is_waited_for(bench, soon, monkeypatch, owner, name):
    monkeypatch.setattr(worker_running, "_PATIENCE", 0.0)  # that is for others
    job_id = bench.create("train")
    left = failing(monkeypatch, getattr(bench, owner), name, away(Reason.DATABASE_UNREACHABLE), 3)
    job = bench.run(job_id)
    assert not left, "it was asked"
    assert (job.state, job.error, job.model) == (State.SUCCEEDED, None, "made:1")


def test_data_wait_for_a_database_that_is_away(bench, soon, monkeypatch):
    job_id = bench.create("train")
    real, left = Preparation.run, [away(Reason.DATABASE_UNREACHABLE)] * 3

    def run(preparation):
        if left:
            raise left.pop()
        return real(preparation)

    monkeypatch.setattr(Preparation, "run", run)
    assert bench.run(job_id).state is State.SUCCEEDED
    assert not left


def test_a_trained_model_waits_for_a_store_that_is_away(bench, soon, monkeypatch):
    job_id = bench.create("train")
    failing(monkeypatch, bench.promoter, "promote", away(Reason.STORE_UNREACHABLE), 3)
    job = bench.run(job_id)
    assert (job.state, job.error, job.model) == (State.SUCCEEDED, None, "made:1")


def test_a_store_that_stays_away_pauses_the_job_and_its_owner_resumes_it(bench, soon, monkeypatch):
    monkeypatch.setattr(worker_running, "_PATIENCE", 0.1)
    job_id = bench.create("train")
    with monkeypatch.context() as meanwhile:
        failing(meanwhile, bench.promoter, "promote", away(Reason.STORE_UNREACHABLE), 10**6)
        job = bench.run(job_id)
    assert (job.state, job.error.reason) == (State.PAUSED, "STORE_UNREACHABLE")
    assert "resume it when that is over" in job.error.message
    bench.records.resume(TENANT, job_id)
    assert bench.run(job_id).model == "made:1"


def test_who_waits_for_a_store_hears_of_a_stop(bench, soon, monkeypatch):
    job_id = bench.create("train")
    failing(monkeypatch, bench.promoter, "promote", away(Reason.STORE_UNREACHABLE), 10**6)

    def stop():
        while bench.records.get(TENANT, job_id).state is not State.EVALUATING:
            pass
        bench.records.cancel(TENANT, job_id)

    assert bench.run(job_id, stop).state is State.CANCELLED


@pytest.mark.parametrize(
    ("wish", "end"), [("cancel", State.CANCELLED), ("pause", State.PAUSED), ("", State.QUEUED)]
)
def test_stops_lead_where_they_were_meant_to(bench, wish, end):
    job_id = bench.create("wait")

    def stop():
        while bench.records.get(TENANT, job_id).state is not State.RUNNING:
            pass
        getattr(bench.records, wish)(TENANT, job_id) if wish else bench.stopping.set()

    assert bench.run(job_id, stop).state is end


def test_a_job_runs_no_longer_than_it_may(bench):
    job = bench.run(bench.create("wait", resources=Resources(max_seconds=1)))
    assert (job.state, job.error.reason) == (State.FAILED, "TIME_LIMIT")


def test_a_training_that_stands_still_rings(bench, monkeypatch):
    monkeypatch.setattr(following, "_LEAST_STALL", 0.5)
    monkeypatch.setattr(following, "_STALL_TIMES", 2.0)
    job = bench.run(bench.create("stall"))
    told = [each.data for each in events(bench.records, job.job_id) if each.kind is Kind.ALARM]
    assert [(each["kind"], each["step"], each["cleared"]) for each in told] == [
        ("stalled", 2, False),
        ("stalled", 3, True),
    ]


def test_what_is_left_of_jobs_is_tidied_up(bench, monkeypatch):
    job = bench.run(bench.create("losses 1"))
    gone = bench.run(bench.create("losses 1"))
    bench.records.delete(TENANT, gone.job_id)
    folder = JobFolder(bench.work, TENANT, job.job_id)
    (folder.path / "work/checkpoint.pt").touch()
    tidying.tidy(bench.records, bench.work)
    assert len(list((bench.work / "jobs" / TENANT).iterdir())) == 2, "somebody may be at it"
    monkeypatch.setattr(tidying, "QUIET_SECONDS", -1.0)
    tidying.tidy(bench.records, bench.work)
    assert [path.name for path in (bench.work / "jobs" / TENANT).iterdir()] == [job.job_id]
    assert not (folder.path / "work/checkpoint.pt").exists()
    assert (folder.candidate(1) / "model.json").exists()


def test_checkpoints_are_ranked_and_the_best_is_published(bench):
    job = bench.run(bench.create("losses 3 1! 2 4", keep_checkpoints=2))
    found = bench.checkpoints.all(TENANT, job.job_id)
    assert [(each.step, each.rank, each.best, each.veto_reason) for each in found] == [
        (1, 2, False, ""),
        (2, 0, False, "too near"),
        (3, 1, True, ""),
        (4, 3, False, ""),
    ]
    assert [bool(each.size_bytes) for each in found] == [True, False, True, False]
    assert [score.name for score in found[0].scores] == ["loss"], "what is no number is no score"
    assert job.best_checkpoint_id == job.promoted_checkpoint_id == f"{job.job_id}-3"
    assert [each.promoted for each in found] == [False, False, True, False]
    version = wait(bench.store.resolve("made@production"))
    assert wait(bench.store.fetch(version)).joinpath("weights.txt").read_text() == "3 2"
    assert version.manifest.metrics == {"loss": 2.0}
    kinds = [each.kind for each in events(bench.records, job.job_id)]
    assert kinds.count(Kind.CHECKPOINT) == kinds.count(Kind.PREVIEW) == 4
    assert kinds.count(Kind.ALARM) == 1
    folder = JobFolder(bench.work, TENANT, job.job_id)
    assert folder.preview(found[1].previews[0].file)[:4] == b"\x89PNG"


def test_patience_ends_a_training(bench):
    job = bench.run(bench.create("losses 1 2 3 0", patience=2))
    assert job.state is State.SUCCEEDED
    assert [each.step for each in bench.checkpoints.all(TENANT, job.job_id)] == [1, 2, 3]


def test_nothing_is_published_that_is_ruled_out(bench):
    job = bench.run(bench.create("losses 1! 2!"))
    assert (job.state, job.model, job.best_checkpoint_id) == (State.SUCCEEDED, "", "")
    assert "no checkpoint is good enough" in str([each.data for each in events(bench.records, job.job_id)])


def test_a_promotion_by_hand_is_left_alone(bench):
    job = bench.run(bench.create("losses 1 2", promotion=Promotion.MANUAL))
    assert (job.state, job.model) == (State.SUCCEEDED, "")
    with pytest.raises(ServiceError) as caught:
        wait(bench.store.resolve("made"))
    assert caught.value.code is Code.NOT_FOUND


def test_an_attempt_after_the_end_of_another_repeats_nothing(bench, database):
    """As if it had died between its last candidate and the end."""
    job_id = bench.create("losses 2 1")
    real = bench.promoter.promote

    def die(*arguments, **more):
        raise OSError("killed here")

    bench.promoter.promote = die
    assert bench.run(job_id).state is State.FAILED
    before = [each for each in events(bench.records, job_id) if each.kind is Kind.CHECKPOINT]
    bench.promoter.promote = real
    again = bench.create("losses 2 1")
    assert bench.run(again).model == "made:1"
    assert len(before) == 2
