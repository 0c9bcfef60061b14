"""Alphabets: which symbols a model speaks, and how text becomes their ids and back."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

UNKNOWN = -1
"""Id of a character that the alphabet lacks. No context reaches across it."""


class Decoder(Protocol):
    """Turns the ids of one growing sequence into text."""

    def feed(self, ids: Sequence[int]) -> list[str]:
        """The text that each id completes: never half a character, so "" while one is incomplete."""
        ...


class Alphabet(Protocol):
    """The symbols of a model, numbered 0..size - 1."""

    @property
    def size(self) -> int:
        """How many symbols there are."""
        ...

    def normalise(self, text: str) -> str:
        """``text`` as the model reads it."""
        ...

    def encode(self, text: str) -> Ids:
        """Ids of the normalised text; UNKNOWN where a character is not in the alphabet."""
        ...

    def piece(self, symbol: int) -> bytes:
        """The exact bytes of one symbol."""
        ...

    def decoder(self, prompt: Ids) -> Decoder:
        """A decoder for what follows ``prompt``."""
        ...


class Characters:
    """An alphabet of single characters, numbered in the order given; text is taken as it stands."""

    def __init__(self, characters: str) -> None:
        if not characters or len(set(characters)) != len(characters):
            raise ValueError("an alphabet needs at least one character and holds each one once")
        self.characters = characters
        codes = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
        self._id_of_code = np.full(int(codes.max()) + 1, UNKNOWN, np.int64)
        self._id_of_code[codes] = np.arange(len(characters))

    @property
    def size(self) -> int:
        return len(self.characters)

    def normalise(self, text: str) -> str:
        return text

    def encode(self, text: str) -> Ids:
        codes = np.frombuffer(self.normalise(text).encode("utf-32-le"), np.uint32)
        known = codes < self._id_of_code.size
        return np.where(known, self._id_of_code[np.where(known, codes, 0)], UNKNOWN)

    def piece(self, symbol: int) -> bytes:
        return self.characters[symbol].encode()

    def decoder(self, prompt: Ids) -> Decoder:
        return self

    def feed(self, ids: Sequence[int]) -> list[str]:
        """Each id is a whole character, so nothing has to be remembered between calls."""
        characters = self.characters
        return [characters[i] for i in ids]


class Shannon(Characters):
    """The 27 symbols of Shannon, "A Mathematical Theory of Communication" (1948): A-Z and the space.

    Accents are stripped, letters capitalised, and every run of anything else is one space.
    """

    _LIGATURES = str.maketrans({"Æ": "AE", "Œ": "OE"})
    _ACCENTS = re.compile("[\u0300-\u036f]+")
    _OTHER = re.compile("[^A-Z]+")

    def __init__(self) -> None:
        super().__init__(" " + string.ascii_uppercase)

    def normalise(self, text: str) -> str:
        plain = self._ACCENTS.sub("", unicodedata.normalize("NFKD", text))
        return self._OTHER.sub(" ", plain.upper().translate(self._LIGATURES))


def alphabet_from_config(config: Mapping[str, Any], folder: Path) -> Alphabet:
    """The alphabet that a model's config describes: {"kind": "shannon" | "text" | "tokens", ...}.

    "text" holds its "characters"; "tokens" names a tokenizer "file" of Hugging Face's format in ``folder``.
    """
    kind = config.get("kind")
    if kind == "shannon":
        return Shannon()
    if kind == "text":
        return Characters(config["characters"])
    if kind == "tokens":
        from services.sampler.ngrams.tokens import Tokens

        return Tokens(folder / config["file"])
    raise ValueError(f"no alphabet {kind!r}; alphabets: shannon, text, tokens")
