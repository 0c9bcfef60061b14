"""Tells the database what a worker does, and hears from it what is wanted; once a second, or at once.

What is said waits in memory for the next beat, so that a training never waits for the database. A report that
could not be written is repeated under its number until it was; a worker whose job is another's ends on the
spot, whatever it is at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from services.common.errors import Code, ServiceError
from services.finetune.jobs.claims import FIRST_REPORT, Claim, Claims, Fenced, Report, Wishes
from services.finetune.jobs.job import Happening, Job
from services.finetune.jobs.rows import Row
from services.finetune.jobs.states import ENDED, State

T = TypeVar("T")

BEAT_SECONDS = 1.0
_PAUSE = 1.0
_OVER = ENDED | {State.QUEUED, State.PAUSED}
FENCED = 3
"""Exit code of a worker whose job somebody else has."""

_logger = logging.getLogger("pequod.worker")


def leave(error: Fenced) -> None:
    """End this process without another word."""
    _logger.warning("%s", error)
    os._exit(FENCED)


class Reporter:
    """Speaks for one claim; safe to use from any thread."""

    def __init__(
        self,
        claims: Claims,
        claim: Claim,
        fenced: Callable[[Fenced], None] = leave,
        beat: float = BEAT_SECONDS,
    ) -> None:
        """``fenced`` is called, in whatever thread, when the claim is lost."""
        self.wishes = Wishes(claim.job.cancel_requested, claim.job.pause_requested)
        self.on_beat: Callable[[], None] = lambda: None
        """Called after each beat, in its thread."""
        self._claims, self._claim, self._fenced, self._beat = claims, claim, fenced, beat
        self._number = FIRST_REPORT
        self._said: list[Happening] = []
        self._fields: dict[str, Any] = {}
        self._unsent: Report | None = None
        self._saying, self._speaking = threading.Lock(), threading.RLock()
        self._closing = threading.Event()
        self._nudges: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def hurry(self) -> None:
        """Beat now: something is wanted."""
        self._nudges.put(None)

    def say(self, *happened: Happening, **fields: Any) -> None:
        """With the next beat. ``fields``: of Report, where the newest counts."""
        with self._saying:
            self._said += happened
            self._fields |= fields

    def write(self, report: Report) -> Job:
        """At once, after what was said before; waits for a database that is away. Raises ServiceError.

        A state in which nobody works ends the claim, and with it the beats.
        """
        with self._speaking:
            self._insist(self._flush)
            self._number += 1
            numbered = replace(report, number=self._number)
            job = self._insist(lambda: self._claims.report(self._claim, numbered))
            if report.state in _OVER:
                self._end()
            return job

    def under(self, task: Callable[[Connection, Row], T]) -> T:
        """What ``task`` makes of the job's row, once, as one of this worker's writes. Raises ServiceError."""
        with self._speaking:
            self._insist(self._flush)
            return self._insist(lambda: self._claims.under(self._claim, task))

    def ask(self, call: Callable[[], T]) -> T:
        """What ``call`` reads from the database; waits for one that is away. Raises ServiceError."""
        return self._insist(call)

    def close(self) -> None:
        """The claim is over."""
        self._end()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _end(self) -> None:
        self._closing.set()
        self.hurry()

    def _run(self) -> None:
        while True:
            with contextlib.suppress(queue.Empty):
                self._nudges.get(timeout=self._beat)
            try:
                with self._speaking:
                    if self._closing.is_set():
                        return
                    self._flush()
                self.on_beat()
            except Fenced as error:
                if not self._closing.is_set():
                    self._fenced(error)
                return
            except (ServiceError, OperationalError) as error:
                _logger.warning("not heard of by the database: %s", error)

    def _flush(self) -> None:
        """A beat, with all that was said. What fails is kept for the next."""
        if self._unsent is None:
            self._unsent = self._gathered()
        self.wishes = self._claims.heartbeat(self._claim, self._unsent)
        self._unsent = None

    def _gathered(self) -> Report | None:
        with self._saying:
            said, self._said = self._said, []
            fields, self._fields = self._fields, {}
        if not said and not fields:
            return None
        self._number += 1
        return Report(happened=said, number=self._number, **fields)

    def _insist(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except Fenced as error:
                self._fenced(error)
                raise
            except (ServiceError, OperationalError) as error:
                if isinstance(error, ServiceError) and error.code is not Code.UNAVAILABLE:
                    raise
                _logger.warning("not heard of by the database, trying again: %s", error)
                time.sleep(_PAUSE)
