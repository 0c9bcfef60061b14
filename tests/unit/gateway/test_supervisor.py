"""The supervisor: restarts with back-off, ends everything, gives up on bad settings."""

import asyncio
import sys

import pytest

from gateway.supervisor import BadStartError, ProcessSpec, Supervisor

FOREVER = "import time; print('up', flush=True); time.sleep(600)"


def spec(name, code):
    return ProcessSpec(name, (sys.executable, "-c", code), {"EXAMPLE": name})


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_processes_run_with_their_variables_until_stopped(tmp_path):
    code = "import os, time; print(os.environ['EXAMPLE'], flush=True); time.sleep(600)"
    supervisor = Supervisor([spec("a", code), spec("b", code)], tmp_path, lambda _: None)
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    for name in "ab":
        log = supervisor.log_file(name)
        await until(lambda log=log: log.exists() and log.read_text() != "")
        assert log.read_text().strip() == name
    stop.set()
    await asyncio.wait_for(task, 20)
    assert supervisor.restarts == {"a": 0, "b": 0}


async def test_a_process_that_dies_is_started_again_with_growing_delays(tmp_path):
    notes = []
    supervisor = Supervisor([spec("a", "raise SystemExit(7)"), spec("b", FOREVER)], tmp_path, notes.append)
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    await until(lambda: supervisor.restarts["a"] >= 3)
    stop.set()
    await asyncio.wait_for(task, 20)
    delays = [float(note.split(" again in ")[1].split()[0]) for note in notes[:3]]
    assert delays == [0.2, 0.4, 0.8]
    assert "exit code 7" in notes[0]
    assert supervisor.restarts["b"] == 0


async def test_a_refused_setting_ends_everything_with_its_sentence(tmp_path):
    code = "import sys; print('PEQUOD_X is not usable', file=sys.stderr); sys.exit(2)"
    supervisor = Supervisor([spec("a", FOREVER), spec("b", code)], tmp_path, lambda _: None)
    with pytest.raises(BadStartError, match="b cannot start: PEQUOD_X is not usable"):
        await asyncio.wait_for(supervisor.run(asyncio.Event()), 20)


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.supervisor.TERM_GRACE", 0.3)
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
    supervisor = Supervisor([spec("a", code)], tmp_path, lambda _: None)
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    await until(lambda: supervisor.log_file("a").exists() and "up" in supervisor.log_file("a").read_text())
    stop.set()
    await asyncio.wait_for(task, 20)


LEAVES = """
import pathlib, signal, sys, time
folder, mine, *others = map(pathlib.Path, {arguments!r})

def leave(*_):
    (folder / f"{{mine}} was told").touch()
    while not all((folder / each).exists() for each in others):
        time.sleep(0.01)
    (folder / f"{{mine}} left").touch()
    sys.exit()

signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
time.sleep(600)
"""


async def test_the_door_ends_first_and_what_is_behind_it_together(tmp_path):
    """The door waits for nobody; each of the others leaves only if both have been told meanwhile."""

    def leaving(name, *others):
        return spec(name, LEAVES.format(arguments=[str(tmp_path), name, *others]))

    behind = ("door left", "one was told", "other was told")
    specs = [leaving("door"), leaving("one", *behind), leaving("other", *behind)]
    supervisor = Supervisor(specs, tmp_path / "log", lambda _: None)
    stop = asyncio.Event()
    task = asyncio.create_task(supervisor.run(stop))
    logs = [supervisor.log_file(each.name) for each in specs]
    await until(lambda: all(log.exists() and "up" in log.read_text() for log in logs))
    stop.set()
    await asyncio.wait_for(task, 20)
    when = {each: (tmp_path / f"{each} left").stat().st_mtime_ns for each in ("door", "one", "other")}
    assert when["door"] < min(when["one"], when["other"])
