"""Figures of /metrics pages."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx

_LINE = re.compile(r"^(pequod_\w+)(\{[^}]*\})? (\S+)", re.MULTILINE)


class Page:
    """One page as it was read."""

    def __init__(self, text: str) -> None:
        self._lines = [(name, labels or "", float(value)) for name, labels, value in _LINE.findall(text)]

    def total(self, name: str) -> float:
        """The sum over all labels; 0 where there is none."""
        return sum(value for found, _, value in self._lines if found == name)

    def values(self, name: str) -> Iterator[tuple[str, float]]:
        """Each with its labels as they stand there."""
        return ((labels, value) for found, labels, value in self._lines if found == name)


async def read_page(client: httpx.AsyncClient, url: str) -> Page | None:
    """The page at ``url``; None where nothing answers."""
    try:
        reply = await client.get(url, timeout=2.0)
    except httpx.HTTPError:
        return None
    return Page(reply.text) if reply.status_code == 200 else None
