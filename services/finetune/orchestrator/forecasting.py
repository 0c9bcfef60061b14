"""What a job would take, from a few steps of it in a child process, and from how busy this service is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import Code, Reason, ServiceError
from services.finetune.jobs.job import Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.orchestrator.executors.children import Children
from services.finetune.worker.files import FORECAST_RESULT, FORECAST_SPEC

_MOST_SECONDS = 300.0
_ENDS_WITH = 400
"""Characters of a child's last words that are shown."""


class Forecaster:
    """One forecast at a time: two would slow each other."""

    def __init__(self, children: Children, records: JobRecords, work: Path, parallel: int) -> None:
        """``parallel``: jobs that run at a time."""
        self._children, self._records, self._work = children, records, work
        self._parallel = max(1, parallel)
        self._turn = asyncio.Semaphore(1)

    async def forecast(self, tenant: str, spec: Spec) -> Mapping[str, Any]:
        """Fields of the contract's Forecast. Raises FAILED_PRECONDITION with what the recipe said."""
        async with self._turn:
            area = self._work / "forecasts"
            area.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=area)).absolute()
            try:
                (folder / FORECAST_SPEC).write_text(json.dumps(spec.to_json()))
                await self._run(tenant, folder)
                found: dict[str, Any] = json.loads((folder / FORECAST_RESULT).read_text())
            finally:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        waiting = await asyncio.to_thread(self._records.waiting_seconds, spec.priority)
        found["queue_seconds"] = round(waiting / self._parallel, 1)
        found["warnings"] = _warnings(found, self._work)
        return found

    async def _run(self, tenant: str, folder: Path) -> None:
        flags = {"forecast": str(folder), "tenant": tenant}
        with (folder / "log.txt").open("ab") as log:
            process = await self._children.start(flags, (), log)
        try:
            async with asyncio.timeout(_MOST_SECONDS):
                code = await process.wait()
        except TimeoutError:
            why = f"a few steps of it take more than {_MOST_SECONDS:g} s here; no forecast can be made"
            raise ServiceError(Code.FAILED_PRECONDITION, Reason.TIME_LIMIT, why) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if code or not (folder / FORECAST_RESULT).exists():
            raise _failure(folder)


def _failure(folder: Path) -> ServiceError:
    lines = (folder / "log.txt").read_text(errors="replace").strip().splitlines()
    last = lines[-1][-_ENDS_WITH:] if lines else "it said nothing"
    return ServiceError(Code.FAILED_PRECONDITION, Reason.RECIPE_FAILED, f"its first steps failed: {last}")


def _warnings(found: Mapping[str, Any], work: Path) -> list[str]:
    """What this machine may not have."""
    said = []
    free = shutil.disk_usage(work).free
    if found["disk_bytes"] > free:
        said.append(f"it needs {found['disk_bytes']:,} bytes of disk, {free:,} are free")
    if not found.get("timed_steps"):
        said.append("the recipe has too few steps, or none, to take the time of: all of it ran once")
    return said
