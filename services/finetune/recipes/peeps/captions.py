"""Tells an avatar's attributes in a sentence, as people who ask for one would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.finetune.recipes.peeps.attributes import STYLES, Avatar

_PEOPLE = ("person", "face", "avatar", "character")
_SKIPPED = 0.15
"""How often a caption leaves an attribute out, so that no word needs another."""


def full_caption(avatar: Avatar) -> str:
    """Everything that is to be seen, in one order."""
    told = avatar.attributes
    with_ = _list(
        [_hair(told), told.get("glasses", ""), told.get("facial_hair", ""), told.get("earrings", "")]
    )
    parts = [
        f"{_article(told['expression'])} person with {told['skin']} skin",
        with_,
        _hat(told),
        _shirt(told),
        f"{told['background']} background",
    ]
    return f"{STYLES[avatar.style]} of {', '.join(part for part in parts if part)}"


def caption(avatar: Avatar, chance: np.random.Generator) -> str:
    """One of many ways to tell some of it."""
    told = {name: word for name, word in avatar.attributes.items() if chance.random() >= _SKIPPED}
    if "hair" not in told or "hair_color" not in told:  # a word for each, or for either
        told.pop("hair_color" if chance.random() < 0.5 else "hair", None)
    if "hat" not in told:
        told.pop("hat_color", None)
    person = str(chance.choice(_PEOPLE))
    if "expression" in told:
        person = f"{told['expression']} {person}"
    if chance.random() < 0.7:
        person = f"{STYLES[avatar.style]} of {_article(person)}"
    elif chance.random() < 0.8:
        person = _article(person)
    details = [
        f"{told['skin']} skin" if "skin" in told else "",
        _hair(told),
        told.get("glasses", ""),
        told.get("facial_hair", ""),
        told.get("earrings", ""),
        _hat(told),
        _shirt(told),
    ]
    chosen = [str(each) for each in chance.permutation([each for each in details if each])]
    sentence = f"{person}, {', '.join(chosen)}" if chance.random() < 0.4 else _with(person, chosen, chance)
    if "background" in told:
        ground = f"{told['background']} background"
        sentence += f" on {_article(ground)}" if chance.random() < 0.3 else f", {ground}"
    return sentence.strip(", ")


def _with(person: str, details: Sequence[str], chance: np.random.Generator) -> str:
    """A person with the first details, then the others."""
    if not details:
        return person
    cut = int(chance.integers(1, len(details) + 1))
    parts = [f"{person} with {_list(list(details[:cut]))}", *details[cut:]]
    return ", ".join(parts)


def _hair(told: Mapping[str, str]) -> str:
    color, style = told.get("hair_color", ""), told.get("hair", "")
    if style == "bald":
        return "bald head"
    noun = style if style in {"mohawk", "bun", "afro", "ponytail"} else f"{style} hair".strip()
    return f"{color} {noun}".strip() if color or style else ""


def _hat(told: Mapping[str, str]) -> str:
    return f"{told.get('hat_color', '')} {told['hat']}".strip() if "hat" in told else ""


def _shirt(told: Mapping[str, str]) -> str:
    words = [told.get("clothes", ""), told.get("pattern", "")]
    return " ".join([word for word in words if word] + ["shirt"]) if any(words) else ""


def _list(parts: list[str]) -> str:
    """a; a and b; a, b and c."""
    parts = [part for part in parts if part]
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _article(words: str) -> str:
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"
