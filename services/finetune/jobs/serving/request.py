"""Reads the smaller requests of FineTuneService."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TypeVar

from pequod.finetune import v1
from services.common.errors import invalid
from services.common.rpc.fields import enum
from services.finetune.checkpoints.checkpoint import Checkpoint
from services.finetune.jobs.job import Job
from services.finetune.jobs.records import Filter
from services.finetune.jobs.serving.enums import STATE_OF
from services.finetune.request_fields import (
    place_token,
    read_enum,
    read_id,
    read_labels,
    read_page_size,
    read_uuid,
)

T = TypeVar("T")

PREFIX = "ft"
_MOST_WITH_PICTURES = 20
_MOST_RECIPE, _MOST_ID = 64, 128


def read_job_id(text: str) -> str:
    """Raises INVALID_ARGUMENT for what cannot be the id of a job."""
    return read_id("job_id", text, PREFIX)


def read_checkpoint_id(text: str) -> str:
    """Raises INVALID_ARGUMENT for what is too long to be the id of a checkpoint."""
    if len(text) > _MOST_ID:
        raise invalid("checkpoint_id", f"has {len(text):,} characters, at most {_MOST_ID}")
    return text


def read_request_id(text: str) -> str:
    """A UUID, or nothing. Raises INVALID_ARGUMENT."""
    return read_uuid("request_id", text) if text else ""


def read_filter(request: v1.ListJobsRequest) -> Filter:
    """Which jobs are wanted. Raises INVALID_ARGUMENT."""
    if len(request.states) > len(STATE_OF):
        raise invalid("states", f"are {len(request.states)}, at most {len(STATE_OF)}")
    if len(request.recipe) > _MOST_RECIPE:
        raise invalid("recipe", f"has {len(request.recipe):,} characters, at most {_MOST_RECIPE}")
    states = frozenset(read_enum("states", each, STATE_OF) for each in request.states)
    return Filter(states, request.recipe, read_labels("labels", dict(request.labels)))


def job_token(last: Job) -> str:
    """Names the job that a page ended with."""
    return place_token(last.create_time, last.job_id)


def read_order(request: v1.ListCheckpointsRequest) -> bool:
    """Whether by step; else by rank. Raises INVALID_ARGUMENT."""
    return enum("order", request.order, v1.CheckpointOrder) == v1.CHECKPOINT_ORDER_STEP


def checkpoint_page(
    request: v1.ListCheckpointsRequest, found: Sequence[Checkpoint]
) -> tuple[Sequence[Checkpoint], str]:
    """A page of the checkpoints of a job, in the order asked for, and the token of the next."""
    size = read_page_size(request.page_size, _MOST_WITH_PICTURES if request.previews else 1000)
    last = max((each.rank for each in found), default=0) + 1
    by_step = read_order(request)
    ordered = sorted(found, key=lambda each: (0 if by_step else each.rank or last, each.step))
    start = _read_start(request.page_token)
    page = ordered[start : start + size]
    more = start + len(page) < len(ordered)
    return page, _token(start + len(page)) if more else ""


def _token(start: int) -> str:
    return base64.urlsafe_b64encode(f"{start}".encode()).decode()


def _read_start(token: str) -> int:
    if not token:
        return 0
    try:
        text = base64.b64decode(token.encode(), b"-_", validate=True).decode()
        if not text.isdecimal() or len(text) > 9:
            raise ValueError(token)
        return int(text)
    except ValueError:
        raise invalid("page_token", "is not one that this service gave") from None
