"""Family tokenizer_json: any Hugging Face ``tokenizer.json``, of an encoding or beside a model's weights."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from services.common.errors import unsupported
from services.common.store.derived import Derive
from services.tokenizer.tokens.encoding import Algorithm, Offsets, Specials, Tokens
from services.tokenizer.tokens.template import template_of
from services.tokenizer.tokens.utf8 import byte_starts

TOKENIZER_FILE = "tokenizer.json"
BYTES_PER_FILE_BYTE = 25.0

_ALGORITHMS = {
    "WordPiece": Algorithm.WORDPIECE,
    "Unigram": Algorithm.UNIGRAM,
    "WordLevel": Algorithm.WORD_LEVEL,
}
_CUTS_ONLY = frozenset({"ByteLevel", "Digits", "FixedLength", "Punctuation", "Split"})
"""Pre-tokenizers that keep every character, unless told to remove the border; UnicodeScripts loses some."""
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


class TokenizerJson:
    """See ``services.tokenizer.tokens.encoding.Encoding``."""

    def __init__(self, text: str) -> None:
        self._plain = _tokenizer(text, special_as_text=True)
        self._special = _tokenizer(text, special_as_text=False)
        described = json.loads(text)
        self._template = template_of(self._plain)
        added = self._plain.get_added_tokens_decoder()
        self.special_tokens = {each.content: token for token, each in added.items() if each.special}
        vocabulary = self._plain.get_vocab(with_added_tokens=True)
        self.vocabulary_size = max(vocabulary.values(), default=-1) + 1
        byte_level = _is_byte_level(described)
        self.algorithm = _algorithm(described["model"]["type"], byte_level)
        strip = {token: each.special for token, each in added.items() if each.lstrip or each.rstrip}
        self.lossless = byte_level and _keeps_every_byte(described) and all(strip.values())
        self._stripping = list(strip)
        self._joins = self.lossless or (byte_level and _decodes_bytes(described))
        self._never_text = {name for name, token in self.special_tokens.items() if self._spells(name, token)}
        read = _from_byte_level if byte_level else _from_vocabulary
        plain = {each.content for each in added.values()}
        self._pieces = {
            token: name.encode() if name in plain else read(name) for name, token in vocabulary.items()
        }
        self._lengths = np.zeros(self.vocabulary_size, np.int64)
        for token, piece in self._pieces.items():
            self._lengths[token] = len(piece)

    def encode(self, text: str, specials: Specials, offsets: bool) -> Tokens:
        """Where joined pieces are the text, offsets count their bytes; elsewhere they are those of the
        characters that a token was made of, so two tokens may share a character.
        """
        ids: list[int] = []
        places: list[Offsets] = []
        for part, at in self._parts(text, specials.allowed):
            encoding = self._cut(part, specials.allowed)
            ids += encoding.ids
            if offsets:
                places.append(at + self._places(part, encoding))
        if not offsets:
            return Tokens(self._template.wrap(ids).ids if specials.around else ids)
        ranges = np.concatenate(places) if places else np.zeros((0, 2), np.int64)
        if specials.around:
            size = len(text.encode())
            before, after = len(self._template.prefix), len(self._template.suffix)
            ids = self._template.wrap(ids).ids
            ranges = np.concatenate([np.zeros((before, 2), np.int64), ranges, np.full((after, 2), size)])
        return Tokens(ids, ranges[:, 0], ranges[:, 1])

    def count(self, text: str, specials: Specials) -> int:
        """Without offsets, which cost this library most of its time."""
        count = sum(
            len(self._cut_fast(part, specials.allowed)) for part, _ in self._parts(text, specials.allowed)
        )
        return count + (self._template.size if specials.around else 0)

    def has(self, token: int) -> bool:
        """Whether the vocabulary names it."""
        return token in self._pieces

    def piece(self, token: int) -> bytes:
        """A byte-level token's bytes; elsewhere its spelling in the vocabulary."""
        return self._pieces[token]

    def decode(self, ids: Sequence[int], skip_special: bool) -> bytes:
        """Byte-level pieces joined; else what the tokenizer's own decoder makes of them."""
        if self._joins:
            left_out = set(self.special_tokens.values()) if skip_special else ()
            return b"".join(self._pieces[token] for token in ids if token not in left_out)
        return str(self._plain.decode(list(ids), skip_special_tokens=skip_special)).encode()

    def _parts(self, text: str, allowed: frozenset[str]) -> list[tuple[str, int]]:
        """The text in parts with the byte each begins at; a part that is an allowed special token is one."""
        parts = [text]
        if allowed and not allowed >= self.special_tokens.keys():
            parts = re.split(f"({_any_of(allowed)})", text)
        if forbidden := self._never_text - allowed:
            # The model knows them as pieces like others: their spelling is taken apart here.
            parts = [each for part in parts for each in _taken_apart(part, allowed, forbidden)]
        parts = [part for part in parts if part] or [text]
        starts = np.cumsum([0, *(len(part.encode()) for part in parts)]).tolist()
        return list(zip(parts, starts[:-1], strict=True))

    def _spells(self, name: str, token: int) -> bool:
        """Whether the name of a special token stands for it even where it is to be text."""
        if self.algorithm is Algorithm.UNIGRAM:
            return True  # what stands beside it decides
        with contextlib.suppress(Exception):  # without an unknown token there is nothing for some names
            return token in self._plain.encode(name, add_special_tokens=False).ids
        return False

    def _cut(self, part: str, allowed: frozenset[str]) -> Any:
        with refusing():
            return self._of(part, allowed).encode(part, add_special_tokens=False)

    def _cut_fast(self, part: str, allowed: frozenset[str]) -> Any:
        with refusing():
            return self._of(part, allowed).encode_batch_fast([part], add_special_tokens=False)[0]

    def _of(self, part: str, allowed: frozenset[str]) -> Tokenizer:
        whole = bool(allowed) and allowed >= self.special_tokens.keys()
        return self._special if whole or part in allowed else self._plain

    def _places(self, part: str, encoding: Any) -> Offsets:
        """First byte and byte after the last of each token, [tokens, 2]."""
        ids = np.array(encoding.ids, np.int64)
        sizes, takes_space = self._lengths[ids], np.isin(ids, self._stripping)
        if self.lossless and not takes_space.any():
            ends = np.cumsum(sizes)
            return np.stack([ends - sizes, ends], axis=1)
        ranges: Offsets = byte_starts(part)[np.array(encoding.offsets, np.int64).reshape(-1, 2)]
        if self.lossless:  # but for special tokens that take in the white space beside them
            ends = np.cumsum(np.where(takes_space, ranges[:, 1] - ranges[:, 0], sizes))
            return np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
        return ranges


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """A text that the tokenizer cannot cut, having no unknown token, as FAILED_PRECONDITION."""
    try:
        yield
    except Exception as error:  # the binding raises Exception itself
        raise unsupported(f"the tokenizer cannot cut this text: {error}") from None


def _any_of(names: Collection[str]) -> str:
    """A pattern that matches the longest of ``names``."""
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))


def _taken_apart(part: str, whole: Collection[str], names: Collection[str]) -> list[str]:
    """``part`` cut after the first character of each of ``names`` in it, unless it is one to leave whole."""
    if part in whole:
        return [part]
    cuts = [0, *(found.start() + 1 for found in re.finditer(_any_of(names), part)), len(part)]
    return [part[start:end] for start, end in pairwise(cuts)]


def load(config: Mapping[str, Any], folder: Path, derive: Derive) -> TokenizerJson:
    """The tokenizer in ``folder``. Raises ValueError when there is none."""
    return TokenizerJson(_read(folder))


def open_tokenizer(folder: Path) -> Tokenizer:
    """The library's tokenizer in ``folder``; it takes special tokens in a text as text and cuts nothing off.

    Raises ValueError when there is none.
    """
    return _tokenizer(_read(folder), special_as_text=True)


def _read(folder: Path) -> str:
    try:
        return (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"there is no {TOKENIZER_FILE}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{TOKENIZER_FILE} cannot be read: {error}") from None


def _tokenizer(text: str, special_as_text: bool) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the binding raises Exception itself
        raise ValueError(f"{TOKENIZER_FILE} cannot be read: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_as_text
    return tokenizer


def _algorithm(model: str, byte_level: bool) -> Algorithm:
    if model == "BPE":
        return Algorithm.BYTE_BPE if byte_level else Algorithm.BPE
    return _ALGORITHMS[model]


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """A normalizer, pre-tokenizer or decoder as the list of its steps."""
    if not part:
        return []
    if part["type"] == "Sequence":
        inner = part.get("pretokenizers") or part.get("normalizers") or part.get("decoders") or ()
        return [step for each in inner for step in _steps(each)]
    return [part]


def _is_byte_level(described: Mapping[str, Any]) -> bool:
    steps = _steps(described.get("pre_tokenizer")) + _steps(described.get("normalizer"))
    return described["model"]["type"] == "BPE" and any(step["type"] == "ByteLevel" for step in steps)


def _keeps_every_byte(described: Mapping[str, Any]) -> bool:
    """Whether a byte-level encoding changes nothing before it cuts, so that joined pieces are the text."""
    model = described["model"]
    marks = model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
    changes = [step for step in _steps(described.get("normalizer")) if step["type"] != "ByteLevel"]
    cuts_only = all(
        step["type"] in _CUTS_ONLY and not step.get("add_prefix_space") and step.get("behavior") != "Removed"
        for step in _steps(described.get("pre_tokenizer"))
    )
    return not marks and not changes and cuts_only and all(symbol in model["vocab"] for symbol in _BYTES)


def _decodes_bytes(described: Mapping[str, Any]) -> bool:
    """Whether the tokenizer's own decoder only joins bytes; it would replace those of half a character."""
    steps = _steps(described.get("decoder"))
    return bool(steps) and all(step["type"] == "ByteLevel" for step in steps)


def _byte_symbols() -> dict[str, int]:
    """The printable character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_symbols()


def _from_byte_level(name: str) -> bytes:
    try:
        return bytes(_BYTES[symbol] for symbol in name)
    except KeyError:
        return name.encode()


def _from_vocabulary(name: str) -> bytes:
    """A byte that stands for itself ("<0x0A>"), or the spelling."""
    byte = _BYTE_TOKEN.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.encode()
