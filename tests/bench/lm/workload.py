"""What bench_lm asks of every peer: prompts and outputs of several lengths, the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

PROMPTS = (8, 24, 48, 96)
"""Tokens of a prompt."""
OUTPUTS = (16, 32, 48, 80)
"""Tokens to write after it."""


class Request(TypedDict):
    """One request, as it goes over the wire to a peer."""

    prompt: list[int]
    count: int


@dataclass(frozen=True)
class Workload:
    """Groups of requests; a group's requests come at once, the next group when they are all done."""

    concurrency: int
    groups: Sequence[Sequence[Request]]

    @property
    def tokens(self) -> int:
        """Tokens to write."""
        return sum(request["count"] for group in self.groups for request in group)

    @property
    def prompt_tokens(self) -> int:
        """Tokens to read."""
        return sum(len(request["prompt"]) for group in self.groups for request in group)


def workload(vocabulary: int, concurrency: int, seed: int, groups: int = 1, scale: float = 1.0) -> Workload:
    """Requests that ``seed`` decides; their lengths are the same for any seed, so that rounds compare.

    New prompts in each round: nobody may remember the one before.
    """
    count = concurrency * groups
    # Lengths in even shares, independent of each other and in an order of no meaning.
    lengths = np.random.default_rng(count)
    prompts = lengths.permutation(np.resize(PROMPTS, count))
    outputs = lengths.permutation(np.resize(OUTPUTS, count))
    chance = np.random.default_rng((seed, count))
    requests: list[Request] = [
        {"prompt": ids(vocabulary, int(prompt), chance), "count": max(int(output * scale), 1)}
        for prompt, output in zip(prompts, outputs, strict=True)
    ]
    parts = [requests[start : start + concurrency] for start in range(0, count, concurrency)]
    return Workload(concurrency, parts)


def ids(vocabulary: int, count: int, chance: np.random.Generator) -> list[int]:
    """A prompt of ``count`` tokens, none of them special."""
    drawn: list[int] = chance.integers(1, vocabulary, count).tolist()
    return drawn
