"""Where requests are worked on: the parts that a process has one of."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.work import Work
from services.gan.serving.animating import Animator
from services.gan.serving.judging import Judging
from services.gan.serving.projecting import Projections
from services.gan.serving.studio import Studio


@dataclass(frozen=True, eq=False)
class Rooms:
    """All of them."""

    studio: Studio
    lane: Work
    """Images are finished and looked at here."""
    animator: Animator
    judging: Judging
    projections: Projections
