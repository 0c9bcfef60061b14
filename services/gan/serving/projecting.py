"""Projections: a step at a time in a lane of their own; they take turns, and end when their callers leave."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial

from pequod.gan import v1
from services.common.errors import unsupported
from services.common.metrics import Metrics
from services.common.pictures.arrays import Array, to_array
from services.common.work import Work
from services.gan.engine import Aim, Descent, Model
from services.gan.pictures import fitted
from services.gan.requests import Project
from services.gan.serving.meter import Meter
from services.gan.serving.places import Places


@dataclass(frozen=True, eq=False)
class Stepped:
    """A step is done."""

    step: int
    loss: float
    code: Array
    """[layers, width]: where it stands now."""


class Projections:
    """All projections under way."""

    def __init__(self, lane: Work, places: Places, metrics: Metrics) -> None:
        """``lane``: one step at a time, with room for one of each projection that has a place."""
        self._lane, self._places, self._metrics = lane, places, metrics

    async def descend(
        self, request: Project, model: Model, deadline: float | None, meter: Meter
    ) -> AsyncGenerator[Stepped, None]:
        """Step by step; the first event is the beginning, step 0. Closing it ends the projection."""
        with self._places.place():
            self._metrics.projections_running.inc()
            try:
                aim = (await self._lane.run(partial(aim_of, request, model), deadline)).value
                yield Stepped(0, 0.0, aim.begin)
                descent: Descent | None = None
                for step in range(1, request.steps + 1):
                    if descent is None:
                        descent = (await self._lane.run(partial(model.descend, aim), deadline)).value
                    served = await self._lane.run(partial(_step, descent, step), deadline)
                    meter.note(served)
                    meter.steps = step
                    self._metrics.projection_steps.labels(model.name).inc()
                    yield served.value
            finally:
                self._metrics.projections_running.dec()


def aim_of(request: Project, model: Model) -> Aim:
    """Where a projection begins and what it is after. FAILED_PRECONDITION for an encoder there is not."""
    traits = model.traits
    picture = to_array(fitted(request.picture, traits.size))
    guess = None if request.start == v1.PROJECTION_START_MEAN else model.guess(picture)
    if guess is None and request.start == v1.PROJECTION_START_ENCODER:
        raise unsupported(f"{model.name} has no encoder; PROJECTION_START_MEAN begins at the mean code")
    pull = traits.regularization if request.regularization is None else request.regularization
    return Aim(
        picture=picture,
        begin=model.mean() if guess is None else guess,
        rate=request.rate,
        regularization=pull,
        noise_seed=request.noise_seed,
        noise_strength=request.options.noise_strength,
    )


def _step(descent: Descent, step: int) -> Stepped:
    return Stepped(step, descent.step(), descent.code())
