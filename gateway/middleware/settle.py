"""Counts and times every call when it ends, however it ends."""

from __future__ import annotations

import asyncio
import logging
import time

import grpc
from prometheus_client import Counter, Histogram

from gateway.call import BackendError, Call
from gateway.pipeline import Proceed
from services.common.errors import ServiceError
from services.common.metrics import Metrics

_logger = logging.getLogger("pequod.gateway")


class Settle:
    """Stands around all steps after it, so that refused calls count too."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Looking a child up by its labels costs more than counting in it.
        self._counters: dict[tuple[str, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Await the rest, then record code and seconds."""
        started = time.perf_counter()
        code = "OK"
        try:
            await proceed(call)
        except BaseException as error:
            code = code_of(error, call)
            if isinstance(error, ServiceError):
                self._metrics.rejected.labels(call.method.service, error.reason.value).inc()
            raise
        finally:
            self._record(call.method.path, code, time.perf_counter() - started)

    def _record(self, path: str, code: str, seconds: float) -> None:
        counter = self._counters.get((path, code))
        if counter is None:
            counter = self._metrics.requests.labels(self._metrics.service, path, code)
            self._counters[path, code] = counter
        counter.inc()
        histogram = self._histograms.get(path)
        if histogram is None:
            histogram = self._metrics.request_seconds.labels(self._metrics.service, path)
            self._histograms[path] = histogram
        histogram.observe(seconds)
        if _logger.isEnabledFor(logging.DEBUG):
            _logger.debug("call", extra={"method": path, "code": code, "seconds": round(seconds, 6)})


def code_of(error: BaseException, call: Call) -> str:
    """The name of the status that ``call`` ends with, by ``error``."""
    if isinstance(error, ServiceError | BackendError):
        return error.code.name
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        # Whether the caller left or its deadline passed, the handler is cancelled.
        late = time.monotonic() >= call.deadline > 0
        return (grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED).name
    return grpc.StatusCode.INTERNAL.name
