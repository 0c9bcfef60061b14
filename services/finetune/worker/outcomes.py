"""What becomes of a job whose run ended with an error."""

from __future__ import annotations

import errno
import logging
import traceback

from services.common.errors import Code, Reason, ServiceError
from services.finetune.jobs.claims import Report
from services.finetune.jobs.job import Happening, JobError, Kind
from services.finetune.jobs.states import State
from services.finetune.recipes.watching import Diverged

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MOST = 2000
"""Characters of a sentence."""
_TRACE = 4000
"""Characters of a trace, its end, that the job's log gets."""

_logger = logging.getLogger("pequod.worker")


def outcome_of(error: Exception) -> Report:
    """FAILED, or PAUSED where the same job may go on once something outside of it has changed."""
    if isinstance(error, Diverged):
        return _failed(Reason.DIVERGED, f"{error}; the last good checkpoint is kept")
    if isinstance(error, ServiceError):
        return _refused(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        what = f"{error.strerror}: {error.filename}" if error.filename else f"{error.strerror}"
        return _paused(Reason.DISK_FULL, f"{what}; make room and resume it: nothing is lost")
    if isinstance(error, ValueError):  # recipes' own word for data and settings that do not fit
        return _failed(Reason.RECIPE_FAILED, str(error))
    return _unexpected(error)


def _refused(error: ServiceError) -> Report:
    if error.code is Code.UNAVAILABLE:
        return _paused(error.reason, f"{error.message}; resume it when that is over")
    return _failed(error.reason, error.message, error.violations[0].field if error.violations else "")


def _unexpected(error: Exception) -> Report:
    _logger.error("the run failed", exc_info=error)
    trace = "".join(traceback.format_exception(error))[-_TRACE:]
    report = _failed(Reason.INTERNAL, f"{type(error).__name__}: {error}")
    line = Happening(Kind.LOG, {"level": "error", "text": trace})
    return Report(state=report.state, error=report.error, happened=[line])


def _failed(reason: str, message: str, field: str = "") -> Report:
    return Report(state=State.FAILED, error=JobError(reason, message[:_MOST], field))


def _paused(reason: str, message: str) -> Report:
    return Report(state=State.PAUSED, error=JobError(reason, message[:_MOST]))
