"""Pictures before the discriminator, in calls that requests share."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.pictures.arrays import Array, to_array
from services.common.pictures.reading import Pixels
from services.gan.engine import Judged, Model
from services.gan.serving.meter import Meter
from services.gan.serving.queues import Queues
from services.gan.serving.studio import WINDOW


class Judging:
    """Has pictures judged."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def logits(
        self,
        model: Model,
        pictures: Sequence[Pixels],
        attributes: Array,
        deadline: float | None,
        meter: Meter,
    ) -> list[float]:
        """What the discriminator says of each; some at a time, so that others come in between."""
        logits: list[float] = []
        for begin in range(0, len(pictures), WINDOW):
            rows = [Judged(to_array(each), attributes) for each in pictures[begin : begin + WINDOW]]
            for served in await self._queues.judge(model).submit_many(rows, deadline):
                meter.note(served)
                logits.append(served.value)
        return logits
