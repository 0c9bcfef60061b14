"""Holds each key to its limits: the call's work is taken at entry as estimated, and settled at its end."""

from __future__ import annotations

from gateway.call import Call
from gateway.limits.account import Accounts
from gateway.limits.work import CREATE_JOB, Work, estimate
from gateway.methods import MODELS
from gateway.pipeline import Proceed
from gateway.principal import Limits
from gateway.request import first_message
from pequod.finetune.v1 import CreateJobResponse

_NO_LIMITS = Limits()


class Limit:
    """Questions about models are free: doors ask them on behalf of callers."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Raises RESOURCE_EXHAUSTED, reason LIMIT_REACHED, with the time after which the call may come."""
        if call.principal.limits == _NO_LIMITS or call.method.service == MODELS:
            await proceed(call)
            return
        estimated = estimate(call.method.path, await first_message(call))
        account = self._accounts.of(call.principal)
        await account.enter(estimated)
        done = estimated
        try:
            await proceed(call)
            done = _done(call, estimated)
        except BaseException:
            done = _unfinished(call, estimated)
            raise
        finally:
            account.leave(estimated, done)


def _unfinished(call: Call, estimated: Work) -> Work:
    """Work that nobody began costs nothing; what was begun and left may have been done."""
    if call.usage is not None:
        return estimated.with_usage(call.usage)
    return estimated if call.begun else Work()


def _done(call: Call, estimated: Work) -> Work:
    if call.method.path == CREATE_JOB:
        return _accepted(CreateJobResponse.FromString(call.reply), estimated)
    return estimated.with_usage(call.usage) if call.usage else estimated


def _accepted(reply: CreateJobResponse, estimated: Work) -> Work:
    """A job that was there is paid for; of a new one the forecast counts, where there is one by now."""
    if reply.existed:
        return Work()
    seconds = reply.job.forecast.duration_seconds
    return Work(training_minutes=seconds / 60) if seconds else estimated
