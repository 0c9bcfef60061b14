"""Family tiktoken: byte-pair encoding by a table of ranks, as OpenAI publishes its encodings."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tiktoken import Encoding as Bpe

from services.common.store.derived import Derive
from services.tokenizer.tokens.encoding import Specials, Tokens

RANKS_FILE = "ranks.tiktoken"
BYTES_PER_FILE_BYTE = 35.0
"""A rank of 17 bytes in the file is four hash entries and a Python object in memory."""

Ids = npt.NDArray[np.uint32]

_LONG_SPACE = re.compile(r"\s{900000}")
"""The library's pattern steps back at most a million times; shorter runs are cut exactly as it cuts them."""


class Tiktoken:
    """See ``services.tokenizer.tokens.encoding.Encoding``."""

    lossless = True

    def __init__(
        self, name: str, pattern: str, ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]
    ) -> None:
        bpe = Bpe(name, pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens=dict(special_tokens))
        self._bpe = bpe
        self.special_tokens = dict(special_tokens)
        self.vocabulary_size = bpe.n_vocab
        self._pieces = {token: special.encode() for special, token in special_tokens.items()}
        self._pieces |= {token: piece for piece, token in ranks.items()}
        self._lengths = np.zeros(bpe.n_vocab, np.int64)
        for token, piece in self._pieces.items():
            self._lengths[token] = len(piece)

    def encode(self, text: str, specials: Specials, offsets: bool) -> Tokens:
        """Joined pieces are the text, so the offsets are the running sum of their lengths."""
        ids = self._ids(text, specials)
        if not offsets:
            return Tokens(ids.tolist())
        ends = np.cumsum(self._lengths[ids])
        return Tokens(ids.tolist(), ends - self._lengths[ids], ends)

    def count(self, text: str, specials: Specials) -> int:
        """Without a Python object for each id."""
        return int(self._ids(text, specials).size)

    def has(self, token: int) -> bool:
        """Numbers between the ranks and the special tokens stand for nothing."""
        return token in self._pieces

    def piece(self, token: int) -> bytes:
        """The bytes whose rank it is; a special token's are its name."""
        return self._pieces[token]

    def decode(self, ids: Sequence[int], skip_special: bool) -> bytes:
        """Joined pieces."""
        left_out = set(self.special_tokens.values()) if skip_special else ()
        return b"".join(self.piece(token) for token in ids if token not in left_out)

    def _ids(self, text: str, specials: Specials) -> Ids:
        parts = [self._cut(part, specials) for part in _parts(text)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _cut(self, text: str, specials: Specials) -> Ids:
        return self._bpe.encode_to_numpy(text, allowed_special=set(specials.allowed), disallowed_special=())


def _parts(text: str) -> list[str]:
    """The text, cut where white space runs on for longer than the pattern has a stack to backtrace over."""
    cuts = [0, *(run.end() for run in _LONG_SPACE.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if end > start] or [text]


def load(config: Mapping[str, Any], folder: Path, derive: Derive) -> Tiktoken:
    """The encoding in ``folder``. Raises KeyError or ValueError when there is none."""
    ranks = _read_ranks(folder / RANKS_FILE)
    special_tokens = {str(name): int(token) for name, token in config["special_tokens"].items()}
    return Tiktoken(folder.parent.name, str(config["pattern"]), ranks, special_tokens)


def _read_ranks(file: Path) -> dict[bytes, int]:
    """The rank of each token. Raises ValueError for a file that is no such table.

    The library's own reader would read a copy in the machine's temporary folder, which nobody verified.
    """
    ranks: dict[bytes, int] = {}
    lines = file.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError:
            raise ValueError(f"{file.name}: line {number} holds no token in base64 and its rank") from None
    if not ranks or len(set(ranks.values())) < len(lines) or min(ranks.values()) < 0:
        raise ValueError(f"{file.name} gives not every token a rank of its own")
    return ranks
