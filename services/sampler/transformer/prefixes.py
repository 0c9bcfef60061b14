"""Keeps keys and values of prompts' beginnings, so that the next prompt that begins so need not read them.

A block is named by everything before it: the hash of the block before and its own tokens. The least recently
used block makes room.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

from services.sampler.transformer.runner import Block, Ids

BLOCK = 16
"""Positions in a block. Pieces of a prompt end where blocks do, so a block is always the same."""


class Prefixes:
    """The blocks of one model, by name."""

    def __init__(self, bytes_limit: int) -> None:
        self._limit = bytes_limit
        self._bytes = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def keeps_any(self) -> bool:
        """Whether there is room for blocks at all."""
        return self._limit > 0

    def __contains__(self, name: bytes) -> bool:
        return name in self._blocks

    def find(self, names: Iterable[bytes]) -> list[Block]:
        """The blocks that are kept of a beginning with these names, without a gap."""
        found = []
        for name in names:
            block = self._blocks.get(name)
            if block is None:
                break
            self._blocks.move_to_end(name)
            found.append(block)
        return found

    def keep(self, name: bytes, block: Block) -> None:
        """Keep a block under its name; nothing that is larger than the limit."""
        if block.nbytes > self._limit or name in self._blocks:
            return
        self._blocks[name] = block
        self._bytes += block.nbytes
        while self._bytes > self._limit:
            _, oldest = self._blocks.popitem(last=False)
            self._bytes -= oldest.nbytes


def names_of(ids: Ids, adapter: str = "") -> list[bytes]:
    """The name of each whole block of ``ids``; ``adapter`` tells apart what other weights make of them."""
    names = [adapter.encode()]
    for end in range(BLOCK, ids.size + 1, BLOCK):
        block = names[-1] + ids[end - BLOCK : end].tobytes()
        names.append(hashlib.blake2b(block, digest_size=16).digest())
    return names[1:]
