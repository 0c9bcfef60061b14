"""What a judge can say: the words of each attribute, and which of them an avatar has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from services.finetune.recipes.peeps import attributes as looks
from services.finetune.recipes.peeps.attributes import Avatar

Labels = npt.NDArray[np.int64]
Vocabulary = Mapping[str, Sequence[str]]
"""Words by attribute; their places are the classes."""

NONE = "none"
"""Says that an avatar has nothing there; always the first word."""


def _sure(*tables: Iterable[str]) -> tuple[str, ...]:
    """The words of an attribute that every avatar has."""
    return tuple(sorted({word for table in tables for word in table if word}))


def _maybe(*tables: Iterable[str]) -> tuple[str, ...]:
    """The words of an attribute that may be missing."""
    return (NONE, *_sure(*tables))


WORDS: Vocabulary = {
    "style": _sure(looks.STYLES),
    "background": _sure(looks.BACKGROUNDS),
    "clothes": _sure(looks.CLOTHES),
    "skin": _sure(looks.SKINS),
    "hair": _maybe(looks.PIXEL_HAIR, looks.PEEPS_HAIR, looks.PEEPS_COLORED_HAIR),
    "hair_color": _maybe(looks.HAIR_COLORS),
    "glasses": _maybe(looks.PIXEL_GLASSES, looks.PEEPS_GLASSES),
    "expression": _sure(looks.PIXEL_MOUTHS, looks.PEEPS_FACES),
    "hat": _maybe(looks.PIXEL_HATS, looks.PEEPS_HATS),
    "facial_hair": _maybe(looks.PEEPS_FACIAL_HAIR),
    "earrings": _maybe(looks.PIXEL_EARRINGS),
    "pattern": _maybe(looks.PIXEL_CLOTHES),
    "hat_color": _maybe(looks.CLOTHES),
}


def labels(avatars: Sequence[Avatar], words: Vocabulary = WORDS) -> Labels:
    """[avatars, attributes]: places of their words. Raises KeyError for a word that has no place."""
    places = {name: {word: place for place, word in enumerate(each)} for name, each in words.items()}
    rows = [[places[name][_word(avatar, name)] for name in words] for avatar in avatars]
    return np.array(rows, np.int64).reshape(len(avatars), len(words))


def _word(avatar: Avatar, name: str) -> str:
    return avatar.style if name == "style" else avatar.attributes.get(name, NONE)
