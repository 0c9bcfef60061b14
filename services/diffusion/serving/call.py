"""One call of the network, as the worker thread makes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

from prometheus_client import Gauge

from services.diffusion.engine import Model
from services.diffusion.painting.painting import advance
from services.diffusion.schedulers.levels import Array
from services.diffusion.serving.job import Image

_logger = logging.getLogger("pequod.diffusion")


@dataclass(frozen=True)
class Step:
    """What a call finished of an image."""

    step: int
    noise_level: float
    preview: Array | None


@dataclass
class Outcome:
    """What came of a call."""

    rows: int = 0
    guided_rows: int = 0
    seconds: float = 0.0
    errors: dict[Image, BaseException] = field(default_factory=dict)
    stepped: dict[Image, Step] = field(default_factory=dict)
    """Of images that finished a step with this call: schedulers may need more than one for a step."""


def make_call(images: Rows[Image], model: Model, active_rows: Gauge) -> Outcome:
    """Begin those that have not begun, and bring all one call further. Errors stand in the outcome."""
    outcome = Outcome()
    ready = [image for image in images if _is_begun(image, outcome)]
    paintings = [image.painting for image in ready if image.painting is not None]
    if not paintings:
        return outcome
    calls = [painting.call for painting in paintings]
    asked = [painting.rows for painting in paintings]
    outcome.rows, outcome.guided_rows = sum(asked), sum(asked) - len(asked)
    active_rows.set(outcome.rows)
    started = time.perf_counter()
    try:
        advance(paintings, model.denoiser)
    except Exception as error:
        _logger.exception("a call of the network failed", extra={"model": model.name})
        outcome.errors |= dict.fromkeys(ready, error)
        return outcome
    finally:
        active_rows.set(0)
    outcome.seconds = time.perf_counter() - started
    for image, painting, call in zip(ready, paintings, calls, strict=True):
        if painting.is_finished or painting.call.step != call.step:
            every = image.job.order.preview_every
            is_due = bool(every) and not painting.is_finished and (call.step + 1) % every == 0
            preview = painting.preview() if is_due else None
            outcome.stepped[image] = Step(call.step + 1, call.noise_share, preview)
    return outcome


def _is_begun(image: Image, outcome: Outcome) -> bool:
    if image.painting is None:
        try:
            image.painting = image.job.order.starts[image.index](image.job.places)
        except Exception as error:
            _logger.exception("an image cannot be begun", extra={"model": image.job.order.model.name})
            outcome.errors[image] = error
            return False
    return True
