"""What an avatar shows, in words, and how each word is drawn: only what can be told apart at 32 pixels.

Looks without a name of their own (a pixel artist's "variant07") are left out: nobody could ask for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

STYLES = {"pixel-art": "pixel art", "open-peeps": "drawing"}
"""Designs by their name in DiceBear, with what a caption calls them."""

BACKGROUNDS = {
    "red": "e05252",
    "orange": "f2a154",
    "yellow": "f7e26b",
    "green": "7ccf7c",
    "teal": "5cc4bd",
    "blue": "6fa8f5",
    "purple": "a98be0",
    "pink": "f5a9c8",
    "white": "fafafa",
    "gray": "9aa0a6",
}
CLOTHES = {
    "red": "c62f2f",
    "orange": "ee8426",
    "yellow": "f4cf3a",
    "green": "2f9e55",
    "blue": "2f62c9",
    "purple": "7a43b6",
    "pink": "ea6fa8",
    "white": "f2f2f2",
    "black": "2b2b2b",
}
HAIR_COLORS = {
    "black": "1d1a1a",
    "brown": "6b4226",
    "blond": "e2bf6a",
    "red": "c1401a",
    "gray": "9a9a9a",
    "blue": "2a6fd0",
    "green": "3d9b4a",
    "pink": "e66aa6",
}
SKINS = {"light": "ffdbb4", "tan": "e0ac7a", "brown": "b06d3c", "dark": "6e4528"}


def _numbered(prefix: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{prefix}{number:02d}" for number in numbers)


PIXEL_HAIR = {
    "short": _numbered("short", 2, 3, 4, 6, 14, 15, 16, 17, 22),
    "long": _numbered("long", 2, 3, 7, 9, 12, 13),
    "chin-length": _numbered("long", 4, 16, 20, 21),
    "curly": (*_numbered("long", 15), *_numbered("short", 11, 13)),
    "mohawk": _numbered("short", 5, 21),
    "bun": _numbered("long", 5),
}
PIXEL_GLASSES = {
    "glasses": _numbered("light", 2, 3, 7),
    "round glasses": _numbered("light", 5, 6),
    "sunglasses": _numbered("dark", 5, 6, 7),
}
PIXEL_MOUTHS = {
    "smiling": _numbered("happy", 6, 7, 8, 9),
    "open-mouthed": _numbered("happy", 12, 13),
    "sad": _numbered("sad", 1),
    "serious": _numbered("sad", 4, 5, 6),
}
PIXEL_HATS = {"cap": _numbered("variant", 2, 7), "beanie": _numbered("variant", 3, 4)}
PIXEL_EARRINGS = {"earrings": _numbered("variant", 1, 3)}
PIXEL_CLOTHES = {
    "": _numbered("variant", 3, 4, 5, 12),
    "striped": _numbered("variant", 13),
    "checked": _numbered("variant", 6),
}

PEEPS_HAIR = {
    "short": ("short1", "short2", "short3", "short5"),
    "long": ("long", "longBangs", "mediumStraight"),
    "chin-length": ("bangs2", "medium1", "medium3", "mediumBangs"),
    "curly": ("longCurly", "dreads2"),
    "afro": ("afro", "longAfro"),
    "bun": ("bun2",),
    "bald": ("noHair1", "noHair2"),
}
"""Hair that is always black."""
PEEPS_COLORED_HAIR = {
    "short": ("grayShort", "short4"),
    "long": ("bangs",),
    "chin-length": ("grayMedium",),
    "mohawk": ("mohawk",),
    "bun": ("grayBun",),
    "ponytail": ("cornrows",),
}
PEEPS_HATS = {"beanie": ("hatBeanie",), "hat": ("hatHip",), "turban": ("turban",), "hijab": ("hijab",)}
PEEPS_FACES = {
    "smiling": ("smile", "smileBig", "smileTeethGap", "calm", "cute"),
    "laughing": ("smileLOL",),
    "angry": ("veryAngry", "angryWithFang", "driven"),
    "sad": ("solemn", "concerned"),
    "amazed": ("awe", "hectic"),
    "serious": ("serious", "blank"),
}
PEEPS_GLASSES = {
    "glasses": ("glasses", "glasses3", "glasses4"),
    "round glasses": ("glasses2", "glasses5"),
    "sunglasses": ("sunglasses", "sunglasses2"),
    "eyepatch": ("eyepatch",),
}
PEEPS_FACIAL_HAIR = {
    "beard": ("full", "full2", "full3"),
    "goatee": ("goatee1", "goatee2"),
    "moustache": ("moustache2", "moustache3", "moustache5", "moustache6", "moustache7"),
}


@dataclass(frozen=True)
class Avatar:
    """One avatar: its attributes in words, and the options that draw it."""

    style: str
    attributes: Mapping[str, str]
    """By name; what an avatar does not have is missing."""
    options: Mapping[str, Any] = field(default_factory=dict)


def random_avatar(chance: np.random.Generator) -> Avatar:
    """An avatar in which every word is about as common as its alternatives."""
    style = str(chance.choice(list(STYLES)))
    drawn = _Drawn(chance)
    drawn.option("backgroundColor", BACKGROUNDS[drawn.word("background", BACKGROUNDS)])
    drawn.option("clothingColor", CLOTHES[drawn.word("clothes", CLOTHES)])
    drawn.option("skinColor", SKINS[drawn.word("skin", SKINS)])
    (_pixel_art if style == "pixel-art" else _open_peeps)(drawn)
    return Avatar(style, drawn.attributes, drawn.options)


class _Drawn:
    """Attributes and options as they are chosen."""

    def __init__(self, chance: np.random.Generator) -> None:
        self.chance = chance
        self.attributes: dict[str, str] = {}
        self.options: dict[str, Any] = {}

    def word(self, attribute: str, words: Mapping[str, object]) -> str:
        """One of the words, any as likely as another; "" leaves the attribute out."""
        word = str(self.chance.choice(list(words)))
        if word:
            self.attributes[attribute] = word
        return word

    def option(self, name: str, *variants: str) -> None:
        """One of the variants, and no other."""
        self.options[name] = [str(self.chance.choice(variants))]

    def look(self, attribute: str, looks: Mapping[str, Sequence[str]], option: str) -> None:
        """A word, drawn in one of its ways."""
        self.option(option, *looks[self.word(attribute, looks)])

    def maybe(self, share: float, attribute: str, looks: Mapping[str, Sequence[str]], option: str) -> bool:
        """The same for a share of the avatars; the others have nothing there."""
        has = bool(self.chance.random() < share)
        self.options[f"{option}Probability"] = 100 if has else 0
        if has:
            self.look(attribute, looks, option)
        return has


def _pixel_art(drawn: _Drawn) -> None:
    drawn.look("expression", PIXEL_MOUTHS, "mouth")
    drawn.look("pattern", PIXEL_CLOTHES, "clothing")
    drawn.option("eyes", "variant06", "variant09", "variant11")
    drawn.option("mouthColor", "c0392b")
    drawn.option("glassesColor", "191919")
    drawn.option("accessoriesColor", "ffd700")
    drawn.options["beardProbability"] = 0  # a shade of skin: not to be told apart
    drawn.maybe(0.4, "glasses", PIXEL_GLASSES, "glasses")
    drawn.maybe(0.15, "earrings", PIXEL_EARRINGS, "accessories")
    if drawn.maybe(0.2, "hat", PIXEL_HATS, "hat"):  # it hides the hair
        drawn.option("hatColor", CLOTHES[drawn.word("hat_color", CLOTHES)])
        drawn.option("hair", "short03")
        drawn.option("hairColor", HAIR_COLORS["black"])
    else:
        drawn.option("hairColor", HAIR_COLORS[drawn.word("hair_color", HAIR_COLORS)])
        drawn.look("hair", PIXEL_HAIR, "hair")


def _open_peeps(drawn: _Drawn) -> None:
    drawn.look("expression", PEEPS_FACES, "face")
    drawn.options["maskProbability"] = 0
    drawn.maybe(0.4, "glasses", PEEPS_GLASSES, "accessories")
    drawn.maybe(0.25, "facial_hair", PEEPS_FACIAL_HAIR, "facialHair")
    kind = drawn.chance.random()
    if kind < 0.2:
        drawn.look("hat", PEEPS_HATS, "head")
    elif kind < 0.65:
        drawn.option("headContrastColor", HAIR_COLORS[drawn.word("hair_color", HAIR_COLORS)])
        drawn.look("hair", PEEPS_COLORED_HAIR, "head")
    else:
        drawn.look("hair", PEEPS_HAIR, "head")
        if drawn.attributes["hair"] != "bald":
            drawn.attributes["hair_color"] = "black"
