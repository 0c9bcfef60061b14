"""Keeps keys and values of prompts' beginnings, so that the next prompt that begins so need not read them.

A block is named by everything before it: the hash of the block before and its own tokens. The least recently
used block makes room.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

from services.sampler.transformer.runner import Block, Ids

BLOCK = 16
"""Positions in a block. Pieces of a prompt end where blocks do, so a block is always the same."""


class Prefixes:
    """The blocks of one model; ``adapter`` tells apart what the same tokens give with different weights."""

    def __init__(self, bytes_limit: int) -> None:
        self._limit = bytes_limit
        self._bytes = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def find(self, ids: Ids, adapter: str = "") -> list[Block]:
        """The blocks that are kept of the beginning of ``ids``, without a gap."""
        found = []
        for name in _names(ids, adapter):
            block = self._blocks.get(name)
            if block is None:
                break
            self._blocks.move_to_end(name)
            found.append(block)
        return found

    def missing(self, ids: Ids, adapter: str = "") -> list[tuple[int, bytes]]:
        """(number, name) of the whole blocks of ``ids`` that are not kept; none where nothing is kept."""
        if not self._limit:
            return []
        named = enumerate(_names(ids, adapter))
        return [(number, name) for number, name in named if name not in self._blocks]

    def keep(self, name: bytes, block: Block) -> None:
        """Keep a block under the name that ``missing`` gave; nothing that is larger than the limit."""
        if block.nbytes > self._limit or name in self._blocks:
            return
        self._blocks[name] = block
        self._bytes += block.nbytes
        while self._bytes > self._limit:
            _, oldest = self._blocks.popitem(last=False)
            self._bytes -= oldest.nbytes


def _names(ids: Ids, adapter: str) -> Iterator[bytes]:
    """The name of each whole block of ``ids``."""
    name = adapter.encode()
    for end in range(BLOCK, ids.size + 1, BLOCK):
        name = hashlib.blake2b(name + ids[end - BLOCK : end].tobytes(), digest_size=16).digest()
        yield name
