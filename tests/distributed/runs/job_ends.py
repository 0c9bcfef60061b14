"""A job is cancelled in mid-training, another reaches its time limit: how soon its worker stops."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from pequod.finetune import v1
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.worker.reporter import BEAT_SECONDS
from tests.distributed.cluster import Cluster
from tests.distributed.jobs import ENDED, Trainees
from tests.distributed.result import Result

ROUNDS = {"short": 1, "long": 5}
STEPS = 1_000_000
"""More than any machine does meanwhile."""
LIMITS_SECONDS = (10, 40, 160)
"""The next one where a job did not come to a step within the one before: it says nothing of steps."""
PATIENCE = 300.0
_SLACK = 1.0
"""Seconds for the calls and the database."""


@dataclass(frozen=True)
class _Ending:
    """Of one job. Seconds, from when it was to stop."""

    job: v1.Job
    stopped: float
    """Until its end was written down, which comes right after its last step."""
    gone: float
    """Until its worker's process was."""

    @property
    def step(self) -> float:
        """Mean length of its steps, what they share included; 0 for a job that came to none."""
        if not self.job.step:
            return 0.0
        trained = self.job.end_time.ToMicroseconds() - self.job.start_time.ToMicroseconds()
        return trained / 1e6 / self.job.step


def run(cluster: Cluster, scale: str) -> Result:
    """A worker hears of a cancel at once where its own service took the call, else with its next beat; of its
    time limit by itself. Then it ends its step.
    """
    result, dice = Result("job-ends"), random.Random(9)
    jobs = Trainees(cluster)
    cancelled = [_cancelled(jobs, dice.random()) for _ in range(ROUNDS[scale])]
    limited = _limited(cluster, jobs)
    jobs.close()
    _judge(result, "cancel", cancelled, BEAT_SECONDS)
    _judge(result, "time limit", [limited], 0.0)
    states = {v1.JobState.Name(each.job.state) for each in cancelled}
    result.rule(states == {"JOB_STATE_CANCELLED"}, f"a cancelled job is CANCELLED: {states}")
    why = limited.job.error.reason
    result.rule(why == "TIME_LIMIT", f"a job at its limit is told so: {why}")
    published = [each.job.model for each in (*cancelled, limited) if each.job.model]
    result.rule(not published, f"neither publishes a model: {published}")
    return result


def _judge(result: Result, what: str, endings: list[_Ending], hears_within: float) -> None:
    result.figure(f"{what}: jobs", len(endings))
    result.figure(f"{what}: a step, s", statistics.median(each.step for each in endings))
    result.figure(f"{what}: until the job had stopped, median, s", _median(endings, "stopped"))
    result.figure(f"{what}: until its worker was gone, median, s", _median(endings, "gone"))
    slowest = max(endings, key=lambda each: each.stopped - each.step)
    most = hears_within + slowest.step + _SLACK
    result.limit(slowest.stopped, most, f"{what}: longest until the job had stopped, s")


def _median(endings: list[_Ending], field: str) -> float:
    return statistics.median(getattr(each, field) for each in endings)


def _cancelled(jobs: Trainees, beat: float) -> _Ending:
    """At another part of the time between two beats for each ``beat``, 0..1."""
    job_id = jobs.create(STEPS)
    workers = _training(jobs, job_id)
    time.sleep(2.0 + beat * BEAT_SECONDS)
    told = time.time()
    jobs.cancel(job_id)
    gone = _gone(workers)
    job = jobs.ended(job_id)
    return _Ending(job, _end(job) - told, gone - told)


def _limited(cluster: Cluster, jobs: Trainees) -> _Ending:
    for seconds in LIMITS_SECONDS:
        job_id = jobs.create(STEPS, max_seconds=seconds)
        gone = _gone(_training(jobs, job_id))
        job = jobs.ended(job_id)
        if job.step:
            break
    over = _began(cluster, job) + seconds
    return _Ending(job, _end(job) - over, gone - over)


def _training(jobs: Trainees, job_id: str) -> list[Path]:
    """Wait until it does steps, or has ended; returns where Linux shows its processes while they run."""
    until = time.monotonic() + PATIENCE
    while not (job := jobs.job(job_id)).step and job.state not in ENDED:
        if time.monotonic() > until:
            raise TimeoutError(f"job {job_id} does no steps: {v1.JobState.Name(job.state)}")
        time.sleep(0.1)
    return [shown for shown in Path("/proc").glob("[0-9]*") if _works_on(shown, job_id)]


def _works_on(shown: Path, job_id: str) -> bool:
    try:
        command = (shown / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return False
    return b"services.finetune.worker" in command and job_id.encode() in command


def _gone(workers: list[Path]) -> float:
    """When the last of them had ended. Raises TimeoutError."""
    until = time.monotonic() + PATIENCE
    while any(each.exists() for each in workers):
        if time.monotonic() > until:
            raise TimeoutError(f"workers do not end: {workers}")
        time.sleep(0.01)
    return time.time()


def _end(job: v1.Job) -> float:
    return float(job.end_time.ToMicroseconds()) / 1e6


def _began(cluster: Cluster, job: v1.Job) -> float:
    """When its worker began to count, by the note that it keeps of the seconds used."""
    note = JobFolder(cluster.folder / "shared/work", job.tenant, job.job_id).path / "seconds"
    return note.stat().st_mtime - float(note.read_text())
