"""A worker that is told that something is wanted of its job asks at once, not with its next beat."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from services.finetune.jobs.claims import Claim, Wishes
from services.finetune.orchestrator.executors.local import LocalExecutor
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.worker.reporter import Reporter

NEVER = 3600.0
SECONDS = 30


class Claims:
    """A database in which a cancel is written down."""

    def __init__(self):
        self.cancel = False

    def heartbeat(self, claim, report):
        return Wishes(self.cancel, False)


def job(number=1):
    spec = SimpleNamespace(resources=SimpleNamespace(accelerators=0))
    return SimpleNamespace(
        tenant="local", job_id=f"ft-{number}", cancel_requested=False, pause_requested=False, spec=spec
    )


def test_a_reporter_that_is_hurried_hears_of_a_wish_long_before_its_beat():
    claims, heard = Claims(), threading.Event()
    reporter = Reporter(claims, Claim(job(), "owner", 1), beat=NEVER)
    reporter.on_beat = heard.set
    reporter.start()
    claims.cancel = True
    assert not reporter.wishes.cancel
    reporter.hurry()
    assert heard.wait(SECONDS)
    assert reporter.wishes.cancel
    reporter.close()  # which waits for its thread, and no beat


LISTENS = """
import subprocess, sys, threading
from services.finetune.worker.lifeline import listen
told = threading.Event()
listen(told.set)
of_a_child = subprocess.run([sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))"],
                            capture_output=True, text=True).stdout.strip()
print(of_a_child, flush=True)
print(told.wait(30), flush=True)
"""


def test_a_line_from_the_parent_is_heard_and_goes_to_no_child_of_the_worker():
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "''\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "True\n"
    assert process.returncode == 0


class Children:
    """Start what says how often it was told."""

    threads = 1

    async def start(self, flags, devices, log):
        code = "import sys\nfor line in sys.stdin: print('told', flush=True)"
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=log
        )


@pytest.mark.timeout(60)
async def test_the_child_of_the_job_alone_is_nudged(tmp_path):
    executor = LocalExecutor(JobSettings(jobs=2), tmp_path, Children())
    for number in (1, 2):
        await executor.launch(Claim(job(number), "owner", 1))
    executor.nudge("local", "ft-2")
    executor.nudge("other", "ft-1")
    executor.nudge("local", "ft-3")
    first, second = (tmp_path.rglob(f"ft-{number}/log.txt") for number in (1, 2))
    first, second = next(first), next(second)
    while not second.read_text():
        await asyncio.sleep(0.05)
    assert (first.read_text(), second.read_text()) == ("", "told\n")
    for run in await executor.poll():
        await executor.stop(run.handle, grace=10)
    executor.nudge("local", "ft-2")  # gone: nothing happens
