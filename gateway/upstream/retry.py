"""The narrow retry rule: once, elsewhere, only what provably did not start, within a budget."""

from __future__ import annotations

import grpc

from gateway.call import BackendError, Call

RATIO = 0.1
"""Retries allowed for each call."""
RESERVE = 10.0
"""Retries that a quiet service has saved up at most."""

# A server that stops cancels calls it has not looked at: to the caller that is UNAVAILABLE too.
_NOT_STARTED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


class RetryBudget:
    """Every call earns a share of a retry; a retry costs one."""

    def __init__(self, ratio: float = RATIO, reserve: float = RESERVE) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._saved = reserve

    def earn(self) -> None:
        """A call arrived."""
        self._saved = min(self._reserve, self._saved + self._ratio)

    def spend(self) -> bool:
        """Whether one more retry is within the budget; if so it is spent."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


def repeatable(call: Call, error: BackendError) -> bool:
    """Whether ``call``, failed with ``error``, provably did not start."""
    return error.code in _NOT_STARTED and not call.begun
