"""What becomes of a job whose run ended with an error."""

from __future__ import annotations

import logging
import uuid

from services.common.errors import Code, Reason, ServiceError
from services.common.hiding import hidden
from services.common.room import is_full
from services.finetune.jobs.claims import Report
from services.finetune.jobs.job import JobError
from services.finetune.jobs.states import State
from services.finetune.recipes.watching import Diverged

_MOST = 2000
"""Characters of a sentence."""

_logger = logging.getLogger("pequod.worker")


def outcome_of(error: Exception) -> Report:
    """FAILED, or PAUSED where the same job may go on once something outside of it has changed."""
    if isinstance(error, Diverged):
        return _failed(Reason.DIVERGED, f"{error}; the last good checkpoint is kept")
    if isinstance(error, ServiceError):
        return _refused(error)
    if isinstance(error, OSError) and is_full(error):
        what = f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"
        return _paused(Reason.DISK_FULL, f"{what}; make room and resume it: nothing is lost")
    if isinstance(error, ValueError):  # recipes' own word for data and settings that do not fit
        return _failed(Reason.RECIPE_FAILED, str(error))
    return _unexpected(error)


def _refused(error: ServiceError) -> Report:
    if error.code is Code.UNAVAILABLE or error.reason is Reason.DISK_FULL:
        return _paused(error.reason, f"{error.message}; resume it when that is over")
    return _failed(error.reason, error.message, error.violations[0].field if error.violations else "")


def _unexpected(error: Exception) -> Report:
    """A bug: the log of this process has the trace, those outside an id to find it by."""
    error_id = uuid.uuid4().hex[:16]
    _logger.error("the run failed", exc_info=error, extra={"request_id": error_id})
    return _failed(
        Reason.INTERNAL, f"internal error, request id {error_id}; the log of the job has the trace"
    )


def _failed(reason: str, message: str, field: str = "") -> Report:
    return Report(state=State.FAILED, error=JobError(reason, _sentence(message), field))


def _paused(reason: str, message: str) -> Report:
    return Report(state=State.PAUSED, error=JobError(reason, _sentence(message)))


def _sentence(message: str) -> str:
    """Secrets go first: one that was cut would not be known any more."""
    return hidden(message)[:_MOST]
