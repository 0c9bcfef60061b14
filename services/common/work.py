"""Jobs in worker threads behind a bounded queue, for work that no batch makes cheaper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from services.common.batcher import Batcher, Limits, Served
from services.common.metrics import Metrics

T = TypeVar("T")
Job = Callable[[], Any]


class Work:
    """Runs jobs, as many at a time as there are threads."""

    def __init__(self, name: str, metrics: Metrics | None, threads: int, max_waiting: int) -> None:
        """``metrics`` counts the jobs as the service's queue; None: another queue is."""
        limits = Limits(max_rows=1, max_queue=max_waiting, workers=threads)
        self._jobs: Batcher[Job, Any] = Batcher(_run_all, limits, name=name, metrics=metrics)

    async def run(self, job: Callable[[], T], deadline: float | None) -> Served[T]:
        """What ``job`` returns; its exception is raised. See ``Batcher.submit`` for the rest."""
        return cast(Served[T], await self._jobs.submit(job, deadline))

    async def close(self) -> None:
        """Finish what waits."""
        await self._jobs.close()


def _run_all(jobs: Sequence[Job]) -> list[Any]:
    return [job() for job in jobs]
