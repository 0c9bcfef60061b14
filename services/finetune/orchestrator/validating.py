"""Brings jobs from VALIDATING into the queue; those whose data set is still being checked wait for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from services.common.errors import Code, ServiceError
from services.finetune.datasets.records import hold
from services.finetune.jobs.claims import Claim, Claims, Fenced, Report
from services.finetune.jobs.job import JobError
from services.finetune.jobs.rows import holder_name
from services.finetune.jobs.states import State
from services.finetune.orchestrator.examining import Examiner, Findings
from services.finetune.orchestrator.expecting import Expectation

_logger = logging.getLogger("pequod.jobs")


class Validator:
    """Blocking; one thread at a time."""

    def __init__(self, claims: Claims, examiner: Examiner, expectation: Expectation) -> None:
        self._claims, self._examiner, self._expectation = claims, examiner, expectation
        self._waiting: list[Claim] = []

    def look(self) -> bool:
        """Examine what waits and what is new; whether any job got further."""
        waited, self._waiting = self._waiting, []
        moved = [self._again(claim) for claim in waited]
        while (claim := self._claims.unchecked(self._examiner.executors)) is not None:
            moved.append(self._examine(claim))
        return any(moved)

    def close(self) -> None:
        """Leave what waits to others."""
        for claim in self._waiting:
            self._claims.give_back(claim)
        self._waiting = []

    def _again(self, claim: Claim) -> bool:
        try:
            if self._claims.heartbeat(claim).cancel:
                self._claims.report(claim, Report(state=State.CANCELLED))
                return True
        except Fenced:
            return False
        return self._examine(claim)

    def _examine(self, claim: Claim) -> bool:
        """Whether it is queued, or has failed."""
        job = claim.job
        try:
            findings = self._examiner.examine(job.tenant, job.spec)
            if findings.waits_for:
                self._waiting.append(claim)
                return False
            expected = self._expectation.of(job.tenant, job.spec)
            self._claims.report(claim, _queued(claim, findings, expected))
        except Fenced:
            return False
        except ServiceError as error:
            if error.code is Code.UNAVAILABLE:
                _logger.warning("job %s cannot be examined for now: %s", job.job_id, error)
                self._waiting.append(claim)
                return False
            field = error.violations[0].field if error.violations else ""
            failure = JobError(error.reason, error.message, field)
            self._claims.report(claim, Report(state=State.FAILED, error=failure))
        return True


def _queued(claim: Claim, findings: Findings, expected: Mapping[str, Any] | None) -> Report:
    """Into the queue, its data sets held in the same transaction."""
    spec, tenant, holder = claim.job.spec, claim.job.tenant, holder_name(claim.job.job_id)

    def hold_all(connection: Connection) -> None:
        for dataset_id in sorted({spec.dataset_id, spec.validation_dataset_id} - {""}):
            hold(connection, tenant, dataset_id, holder)

    values = {"dataset_digest": findings.dataset_digest, "forecast": expected}
    return Report(state=State.QUEUED, values=values, also=hold_all)
