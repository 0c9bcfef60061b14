"""A recipe that does what its parameter says, for the ends that real ones seldom come to."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass

from services.common.errors import Code, Reason, ServiceError
from services.common.store import Kind
from services.finetune.catalogue.recipe import Recipe
from services.finetune.recipes.options import words
from services.finetune.recipes.task import Task, is_whole
from services.finetune.recipes.version import Corpus, begin, publish
from services.finetune.recipes.watching import (
    Alarm,
    Better,
    Candidate,
    Diverged,
    Preview,
    Score,
    Stopped,
    Watcher,
)
from tests.unit.finetune.parts import picture


@dataclass(frozen=True)
class Options:
    act: str = words("train", 1000)
    """"train", or an error; or "losses 3 1 2": candidates with these."""
    steps: int = 5


def run(task: Task, watcher: Watcher) -> None:
    act, *values = task.options(Options).act.split()
    if act in ERRORS:
        raise ERRORS[act]
    if act in ACTS:
        ACTS[act](task, watcher)
        return
    watcher.alarmed(Alarm("overfitting", 1, "it rings", {"gap": 0.5}, "nothing"))
    for number, value in enumerate(values or ["1"], start=1):
        watcher.stepped(number, task.steps, {"loss": float(value.rstrip("!")), "odd": float("nan")})
        if not watcher.offered(candidate(task, number, value)):
            return


def wait(task: Task, watcher: Watcher) -> None:
    while not watcher.wants_stop():
        time.sleep(0.01)
    raise Stopped("asked to")


def full_once(task: Task, watcher: Watcher) -> None:
    if (task.work / "was_full").exists():
        return
    task.work.mkdir(parents=True, exist_ok=True)
    (task.work / "was_full").touch()
    watcher.stepped(2, task.steps, {"loss": 1.0})
    raise ERRORS["full"]


def stall(task: Task, watcher: Watcher) -> None:
    for step in (1, 2, 3, 4):
        watcher.stepped(step, task.steps, {"loss": 1.0})
        time.sleep(3.0 if step == 2 else 0.1)


def candidate(task: Task, step: int, value: str) -> Candidate:
    """A version with a file of its own; a value that ends in "!" is ruled out."""
    folder = task.candidate(step)
    if not is_whole(folder):
        begin(folder)
        (folder / "weights.txt").write_text(f"{step} {value}")
        publish(Corpus((), "nothing"), folder, Kind.NGRAM, "ngram", {"order": 1}, {}, "fake")
    loss = Score("loss", float(value.rstrip("!")), Better.LOWER, "too near" if value.endswith("!") else "")
    odd = Score("odd", float("nan"), Better.HIGHER)
    return Candidate(step, folder, (loss, odd), (Preview("a picture", 7, picture(step)),))


ACTS = {"wait": wait, "full_once": full_once, "stall": stall}
ERRORS = {
    "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "checkpoint.pt"),
    "diverged": Diverged("the loss is nan by step 3"),
    "refused": ValueError("the corpus has no chapters"),
    "bug": KeyError("oops"),
    "away": ServiceError(Code.UNAVAILABLE, Reason.STORE_UNREACHABLE, "the store is away"),
}

FAKE = Recipe(
    name="fake",
    summary="does what it is told",
    run="tests.unit.finetune.fake_recipe:run",
    options=Options,
    offers=True,
    accelerates=False,
)
