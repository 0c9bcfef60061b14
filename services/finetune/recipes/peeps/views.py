"""Persons in several views: what a person is stays, what they wear, show and stand before changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from services.finetune.recipes.peeps.attributes import (
    BACKGROUNDS,
    CLOTHES,
    PEEPS_FACES,
    PIXEL_CLOTHES,
    PIXEL_MOUTHS,
    Avatar,
)
from services.finetune.recipes.peeps.dataset import avatars

_MOODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "pixel-art": ("mouth", PIXEL_MOUTHS),
    "open-peeps": ("face", PEEPS_FACES),
}
"""By style: the option that draws an expression, and its ways."""


def persons(count: int, views: int, seed: int) -> Iterator[Avatar]:
    """``views`` of the first person, then of the second ...; all are shown in the same surroundings in turn.

    So nothing but who they are tells one person's views from another's.
    """
    chance = np.random.default_rng((seed, 1))
    surroundings = [
        {"background": background, "clothes": clothes}
        for background, clothes in zip(
            _mixed(list(BACKGROUNDS), views, chance), _mixed(list(CLOTHES), views, chance), strict=True
        )
    ]
    for number, person in enumerate(avatars(count, seed)):
        drawn = np.random.default_rng((seed, 2, number))
        for around in surroundings:
            yield _shown(person, around, drawn)


def _mixed(words: list[str], count: int, chance: np.random.Generator) -> list[str]:
    """``count`` of them, none again before all were."""
    rounds = [chance.permutation(words) for _ in range(-(-count // len(words)))]
    return [str(each) for each in np.concatenate(rounds)[:count]]


def _shown(person: Avatar, around: Mapping[str, str], chance: np.random.Generator) -> Avatar:
    option, moods = _MOODS[person.style]
    mood = str(chance.choice(list(moods)))
    changed: dict[str, list[str]] = {
        "backgroundColor": [BACKGROUNDS[around["background"]]],
        "clothingColor": [CLOTHES[around["clothes"]]],
        option: [str(chance.choice(moods[mood]))],
    }
    told = {**person.attributes, **around, "expression": mood}
    told.pop("pattern", None)
    if person.style == "pixel-art":
        changed["clothing"] = [str(chance.choice(PIXEL_CLOTHES[""]))]
    return Avatar(person.style, told, {**person.options, **changed})
