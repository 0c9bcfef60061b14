"""A count trie as one dense table, for runtimes that know nothing of tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from services.common.errors import unsupported
from services.sampler.ngrams.trie import Trie

if TYPE_CHECKING:
    import torch

CELLS = 16_000_000
"""The largest table that is made: 64 MB of float32."""


def log_probabilities(trie: Trie) -> npt.NDArray[np.float32]:
    """For each context of order - 1 symbols, by its number in base V, the log probability of each symbol.

    Shape [V ** (order - 1), V]; -inf where back-off gives a symbol nothing. FAILED_PRECONDITION beyond CELLS.
    """
    size, length = trie.alphabet_size, trie.order - 1
    if size**trie.order > CELLS:
        raise unsupported(
            f"a dense table of {size} symbols at order {trie.order} would have {size**trie.order} cells; "
            f"at most {CELLS} are exported"
        )
    states = np.zeros(size**length, np.int64)
    for used in range(1, length + 1):
        nodes = np.zeros(size**length, np.int64)
        for place in range(length - used, length):
            symbols = np.arange(size**length) // size ** (length - 1 - place) % size
            nodes = trie.children(nodes, symbols)
        states = np.where((nodes >= 0) & (trie.totals[nodes] > 0), nodes, states)
    table = np.full((states.size, size), -np.inf, np.float32)
    followers = trie.first_child[states + 1] - trie.first_child[states]
    rows = np.repeat(np.arange(states.size), followers)
    skipped = np.repeat(np.cumsum(followers) - followers, followers)
    children = np.arange(rows.size) - skipped + trie.first_child[states[rows]]
    table[rows, trie.symbols[children]] = np.log(trie.counts[children] / trie.totals[states[rows]])
    return table


def module(trie: Trie) -> torch.nn.Module:
    """Context ids [batch, order - 1] int64 to log probabilities [batch, V] float32."""
    import torch

    class DenseNgram(torch.nn.Module):
        """One row of the table for each context."""

        weights: torch.Tensor
        table: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            places = torch.arange(trie.order - 2, -1, -1)
            self.register_buffer("weights", trie.alphabet_size**places)
            self.register_buffer("table", torch.from_numpy(log_probabilities(trie)))

        def forward(self, context: torch.Tensor) -> torch.Tensor:
            return self.table[(context * self.weights).sum(dim=1)]

    return DenseNgram()
