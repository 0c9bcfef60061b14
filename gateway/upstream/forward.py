"""The last step: the call goes to a backend, and perhaps once more to another."""

from __future__ import annotations

import logging
from collections import defaultdict

import grpc

from gateway.call import BackendError, Call
from gateway.pipeline import Proceed
from gateway.upstream.attempt import attempt
from gateway.upstream.backend import Backend
from gateway.upstream.errors import explained, judge
from gateway.upstream.outlier import Outcome
from gateway.upstream.pool import Pool
from gateway.upstream.retry import RetryBudget, repeatable
from services.common.errors import ServiceError
from services.common.metrics import Metrics
from services.common.tracing import rpc
from services.common.tracing.spans import NoSpan

_logger = logging.getLogger("pequod.gateway")


class Forward:
    """Picks a backend, tries the call on it, and applies the retry rule."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._budgets: defaultdict[str, RetryBudget] = defaultdict(RetryBudget)

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Raises ServiceError when no backend could be reached, BackendError for what one answered."""
        assert call.pool is not None, "routing comes before forwarding"
        await self.run(call, call.pool)

    async def run(self, call: Call, pool: Pool) -> None:
        """Take ``call`` to a backend of ``pool``."""
        self._budgets[pool.service].earn()
        first = pool.pick()
        try:
            await _try(call, pool, first, 1)
        except BackendError as error:
            other = self._another(call, pool, first, error)
            if other is None:
                raise _told(call, pool, error) from None
            await self._again(call, pool, other)

    async def _again(self, call: Call, pool: Pool, other: Backend) -> None:
        outcome = "failed"
        try:
            await _try(call, pool, other, 2)
            outcome = "ok"
        except BackendError as error:
            raise _told(call, pool, error) from None
        finally:
            self._metrics.retries.labels(pool.service, outcome).inc()

    def _another(self, call: Call, pool: Pool, first: Backend, error: BackendError) -> Backend | None:
        """The backend for a second try; None when there may be none."""
        if not repeatable(call, error):
            return None
        try:
            other = pool.pick(other_than=first)
        except ServiceError:
            return None
        if self._budgets[pool.service].spend():
            return other
        self._metrics.retries.labels(pool.service, "over_budget").inc()
        return None


async def _try(call: Call, pool: Pool, backend: Backend, number: int) -> None:
    outcome = Outcome.NEUTRAL
    pool.begin(backend)
    try:
        with rpc.called(call.method.path, backend.address, number) as span:
            await _answered(call, backend, span)
        outcome = Outcome.GOOD
    except BackendError as error:
        outcome = judge(error)
        raise
    finally:
        pool.end(backend, outcome)


async def _answered(call: Call, backend: Backend, span: NoSpan) -> None:
    try:
        await attempt(call, backend)
    except BackendError as error:
        rpc.got(span, error.code.name)
        raise
    rpc.got(span, "OK")


def _told(call: Call, pool: Pool, error: BackendError) -> BackendError | ServiceError:
    if error.code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}:
        _logger.warning("a backend failed", extra={"method": call.method.path, "code": error.code.name})
    return explained(error, pool.service, call.begun)
