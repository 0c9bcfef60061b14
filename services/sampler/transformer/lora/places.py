"""Which adapters a runner holds: few at a time, those in use stay, the one unused longest makes room."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from services.common.lora import Adapter
from services.sampler.transformer.lora.linears import Linears
from services.sampler.transformer.runner import Runner

NONE = 0
"""The place of sequences without an adapter."""


@dataclass
class _Place:
    number: int
    users: int = 0


@dataclass
class Places:
    """The places 1 .. ``runner.adapters`` of one runner."""

    runner: Runner
    linears: Linears
    _places: OrderedDict[str, _Place] = field(default_factory=OrderedDict)
    """By the adapter's key, the one asked for longest ago first."""
    _free: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._free = list(range(self.runner.adapters, NONE, -1))

    def take(self, adapter: Adapter | None) -> int | None:
        """The place where the adapter is now, until ``leave``; None while others use all places."""
        if adapter is None:
            return NONE
        place = self._places.get(adapter.key) or self._bring(adapter)
        if place is None:
            return None
        self._places.move_to_end(adapter.key)
        place.users += 1
        return place.number

    def leave(self, adapter: Adapter | None) -> None:
        """One of the adapter's users has gone; it stays where it is until another needs its place."""
        if adapter is not None:
            self._places[adapter.key].users -= 1

    def _bring(self, adapter: Adapter) -> _Place | None:
        if not self._free:
            self._let_go()
        if not self._free:
            return None
        self.runner.attach(self._free[-1], self.linears.factors(adapter))
        place = self._places[adapter.key] = _Place(self._free.pop())
        return place

    def _let_go(self) -> None:
        """Free the place of the adapter that nobody has used for longest."""
        idle = next((key for key, place in self._places.items() if not place.users), None)
        if idle is not None:
            self._free.append(self._places.pop(idle).number)
