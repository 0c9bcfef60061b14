"""The contract's enums and ours."""

from __future__ import annotations

from collections.abc import Mapping

from pequod.finetune import v1
from services.finetune.jobs.job import Executor, Promotion
from services.finetune.jobs.states import State
from services.finetune.recipes.watching import Better

STATES: Mapping[State, v1.JobState.ValueType] = {
    each: v1.JobState.Value(f"JOB_STATE_{each.name}") for each in State
}
STATE_OF: Mapping[int, State] = {value: state for state, value in STATES.items()}
EXECUTORS: Mapping[Executor, v1.Executor.ValueType] = {
    Executor.LOCAL: v1.EXECUTOR_LOCAL,
    Executor.KUBERNETES: v1.EXECUTOR_KUBERNETES,
}
EXECUTOR_OF: Mapping[int, Executor] = {
    v1.EXECUTOR_UNSPECIFIED: Executor.LOCAL,
    **{value: executor for executor, value in EXECUTORS.items()},
}
PROMOTIONS: Mapping[Promotion, v1.Promotion.ValueType] = {
    Promotion.BEST: v1.PROMOTION_BEST,
    Promotion.MANUAL: v1.PROMOTION_MANUAL,
}
PROMOTION_OF: Mapping[int, Promotion] = {
    v1.PROMOTION_UNSPECIFIED: Promotion.BEST,
    **{value: promotion for promotion, value in PROMOTIONS.items()},
}
DIRECTIONS: Mapping[Better, v1.ScoreDirection.ValueType] = {
    Better.HIGHER: v1.SCORE_DIRECTION_HIGHER,
    Better.LOWER: v1.SCORE_DIRECTION_LOWER,
    Better.NEITHER: v1.SCORE_DIRECTION_UNSPECIFIED,
}
LEVELS: Mapping[str, v1.LogLevel.ValueType] = {
    "info": v1.LOG_LEVEL_INFO,
    "warning": v1.LOG_LEVEL_WARNING,
    "error": v1.LOG_LEVEL_ERROR,
}


def alarm_kind(name: str) -> v1.AlarmKind.ValueType:
    """UNSPECIFIED for one that the contract does not know."""
    known = v1.AlarmKind.DESCRIPTOR.values_by_name.get(f"ALARM_KIND_{name.upper()}")
    return v1.AlarmKind.Value(known.name) if known else v1.ALARM_KIND_UNSPECIFIED
