"""Pictures in a feature space: how near two are, and which training images are nearest."""

from __future__ import annotations

from services.common.errors import unsupported
from services.common.pictures.reading import Pixels
from services.gan.companions.neighbours import Neighbour, Neighbours
from services.gan.engine import Eyes, Model
from services.gan.pictures import fitted


def neighbours_of(model: Model) -> Neighbours:
    """FAILED_PRECONDITION for a model that has no features of its training images."""
    if model.companions.neighbours is None:
        raise unsupported(f"{model.name} has no features of its training images")
    return model.companions.neighbours


def nearest(picture: Pixels, size: int, eyes: Eyes, neighbours: Neighbours, limit: int) -> list[Neighbour]:
    """The training images nearest to a picture, seen at ``size`` as they were; blocking."""
    point = eyes.see(fitted(picture, size))
    features = len(neighbours.reduced.mean)
    if len(point) != features:
        raise unsupported(f"{eyes.name} sees {len(point)} features, the training images have {features}")
    return neighbours.nearest(point, limit)


def similarity(one: Pixels, other: Pixels, eyes: Eyes) -> float:
    """The cosine of two pictures; blocking."""
    cosine = float(eyes.see(one) @ eyes.see(other))
    return max(-1.0, min(1.0, cosine))
