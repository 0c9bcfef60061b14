"""What an avatar shows as a vector of zeros and ones, one place for each word; all zeros state nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from services.finetune.recipes.peeps import attributes as drawn
from services.finetune.recipes.peeps.attributes import Avatar

NONE = "none"
"""Says that an avatar has nothing of an attribute, where "not stated" leaves it open."""
_MAY_LACK = ("earrings", "facial_hair", "glasses", "hat", "pattern")

_WORDS = {
    "style": {*drawn.STYLES},
    "background": {*drawn.BACKGROUNDS},
    "clothes": {*drawn.CLOTHES},
    "skin": {*drawn.SKINS},
    "hair": {*drawn.PIXEL_HAIR, *drawn.PEEPS_HAIR, *drawn.PEEPS_COLORED_HAIR},
    "hair_color": {*drawn.HAIR_COLORS},
    "glasses": {*drawn.PIXEL_GLASSES, *drawn.PEEPS_GLASSES},
    "expression": {*drawn.PIXEL_MOUTHS, *drawn.PEEPS_FACES},
    "hat": {*drawn.PIXEL_HATS, *drawn.PEEPS_HATS},
    "hat_color": {*drawn.CLOTHES},
    "facial_hair": {*drawn.PEEPS_FACIAL_HAIR},
    "earrings": {*drawn.PIXEL_EARRINGS},
    "pattern": {*drawn.PIXEL_CLOTHES} - {""},
}
ATTRIBUTES = tuple(sorted(_WORDS))
VOCABULARY = tuple(
    (name, word)
    for name in ATTRIBUTES
    for word in sorted(_WORDS[name] | ({NONE} if name in _MAY_LACK else set()))
)
"""Attribute and word of each place."""
_PLACES = {stated: place for place, stated in enumerate(VOCABULARY)}
OWNERS = tuple(ATTRIBUTES.index(name) for name, _ in VOCABULARY)
"""Which attribute each place belongs to."""


def vector(stated: Mapping[str, str]) -> npt.NDArray[np.uint8]:
    """[words] of what is stated. Raises ValueError for what no avatar can have."""
    row = np.zeros(len(VOCABULARY), np.uint8)
    for name, word in stated.items():
        if name not in _WORDS:
            raise ValueError(f"there is no attribute {name!r}")
        if (name, word) not in _PLACES:
            known = ", ".join(each for owner, each in VOCABULARY if owner == name)
            raise ValueError(f"{name} is {word!r}, one of {known} is needed")
        row[_PLACES[name, word]] = 1
    return row


def vectors(avatars: Sequence[Avatar]) -> npt.NDArray[np.uint8]:
    """[n, words], everything stated."""
    lacking = dict.fromkeys(_MAY_LACK, NONE)
    return np.stack([vector({**lacking, "style": each.style, **each.attributes}) for each in avatars])
