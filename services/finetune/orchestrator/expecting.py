"""What a new job is expected to take, by what jobs like it took: for nothing, where a forecast runs steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.finetune.jobs.job import Job, Spec
from services.finetune.jobs.records import Filter, JobRecords
from services.finetune.jobs.states import State

_LOOKED_AT = 50
"""Ended jobs of the recipe, the newest ones."""


class Expectation:
    """Blocking."""

    def __init__(self, records: JobRecords, parallel: int) -> None:
        """``parallel``: jobs that run at a time."""
        self._records, self._parallel = records, max(1, parallel)

    def of(self, tenant: str, spec: Spec) -> Mapping[str, Any] | None:
        """Fields of the contract's Forecast; None where no job of the tenant was alike."""
        only = Filter(frozenset({State.SUCCEEDED}), spec.recipe)
        earlier = self._records.page(tenant, _LOOKED_AT, only=only).jobs
        like = next((each for each in earlier if each.forecast and _alike(each.spec, spec)), None)
        if like is None:
            return None
        waiting = self._records.waiting_seconds(spec.priority)
        return _scaled(like, spec) | {"queue_seconds": round(waiting / self._parallel, 1)}


def _alike(one: Spec, other: Spec) -> bool:
    """Whether a step of one takes what a step of the other does, as far as specs say."""
    return _cost(one) == _cost(other)


def _cost(spec: Spec) -> tuple[Any, ...]:
    """Texts, such as prompts, change the time of no step."""
    numbers = {name: value for name, value in spec.parameters.items() if not isinstance(value, str)}
    return spec.executor, spec.base, spec.preset, numbers, spec.resources.accelerators


def _scaled(like: Job, spec: Spec) -> dict[str, Any]:
    """What ``like`` took, for as many steps as are asked for now."""
    known = dict(like.forecast or {})
    factor = spec.steps / like.spec.steps if spec.steps and like.spec.steps else 1.0
    known["duration_seconds"] = round(known["duration_seconds"] * factor, 3)
    return known | {"steps": spec.steps, "timed_steps": 0, "warnings": []}
