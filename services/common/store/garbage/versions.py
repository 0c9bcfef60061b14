"""Versions that nobody needs: no alias, no job, no service and no other version names them, for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.common.errors import ServiceError
from services.common.store.garbage.bins import Bin, Key
from services.common.store.layer import Layer
from services.common.store.manifest import Manifest
from services.common.store.reference import version_order
from services.common.upkeep.collecting import Item

Needs = Callable[[], Mapping[Key, str]]
"""What others than the store need now, each with the reason; raises where that cannot be known."""


@dataclass(frozen=True)
class Rules:
    """What is kept all the same."""

    keep_last: int = 3
    """Versions of a name, the newest ones; at least the one that a bare name may stand for."""
    grace_seconds: float = 7 * 86400.0
    """For which nobody must have needed a version before it goes."""


class VersionGarbage:
    """Of the writable one of ``layers``; the others only say what they name.

    A version goes in steps, so that nobody sees half of it and nobody who begins to need it meanwhile loses
    it: marked when nobody needs it, after the grace hidden by one rename or delete, looked for once more by
    everybody who may name it, and then deleted, or brought back. Whoever names a version looks afterwards
    whether it is still there: one of both sees the other. What a run that broke off has hidden, the next one
    brings back or deletes.
    """

    name = "versions"

    def __init__(self, layers: Sequence[Layer], bin: Bin, needs: Needs, rules: Rules) -> None:
        """``needs``: what jobs and services need."""
        self._layers, self._bin, self._needs, self._rules = layers, bin, needs, rules
        self._mine = next(layer for layer in reversed(layers) if layer.writable)

    def find(self, is_real: bool) -> Sequence[Item]:
        """Versions without a reason to stay. ``is_real``: marks them, and ends what a broken run began."""
        if is_real:
            with self._bin.alone():
                self._end_what_began()
                return self._found(is_real)
        broken = [_broken(key) for key in self._bin.hidden()]
        return [*self._found(is_real), *broken]

    def remove(self, items: Sequence[Item]) -> Iterable[bool]:
        """Hide them all, look again, delete what is still needed by nobody."""
        if not items:
            return []
        with self._bin.alone():
            hidden = {item.key for item in items if self._bin.hide(item.key)}
            gone = self._settle(hidden)
        return [item.key in gone for item in items]

    def _end_what_began(self) -> None:
        self._settle(set(self._bin.hidden()))

    def _settle(self, hidden: set[Key]) -> set[Key]:
        """Delete what is hidden, or bring it back; returns what is gone."""
        if not hidden:
            return set()
        try:
            needed = self._look().reasons
        except BaseException:
            for key in hidden:
                self._bin.bring_back(key)
            raise
        for key in sorted(hidden):
            if key in needed:
                self._bin.bring_back(key)
            else:
                self._bin.drop(key)
            self._bin.unmark(key)
        return hidden - set(needed)

    def _found(self, is_real: bool) -> list[Item]:
        look, marks, now = self._look(), self._bin.marks(), time.time()
        items = []
        for key, manifest in sorted(look.mine.items()):
            if key in look.reasons:
                continue
            if is_real and key not in marks:
                self._bin.mark(key)
            # A mark may be older than the version: another was there before, and was removed by hand.
            since = max(marks[key], self._bin.published_at(key)) if key in marks else now
            items.append(self._item(key, manifest, since, now))
        if is_real:
            for key in set(marks) - {item.key for item in items}:
                self._bin.unmark(key)
        return items

    def _item(self, key: Key, manifest: Manifest, since: float, now: float) -> Item:
        goes = since + self._rules.grace_seconds
        return Item(
            kind="version",
            what=f"{key[0]}:{key[1]}",
            size_bytes=manifest.size_bytes,
            why=f"no alias, job, service or version names it, and {self._rules.keep_last} are newer",
            goes_at=datetime.fromtimestamp(goes, UTC).replace(microsecond=0),
            is_due=goes <= now,
            tenant=manifest.tenant,
            key=key,
        )

    def _look(self) -> _Look:
        """All layers, and everybody who may need something, as they are now."""
        manifests: dict[Key, Manifest | None] = {}
        aliases: dict[Key, str] = {}
        versions: dict[str, tuple[str, ...]] = {}
        for layer in self._layers:
            for name, found in layer.versions().items():
                versions[name] = found if layer is self._mine else versions.get(name, ())
                for version in found:
                    manifests.setdefault((name, version), _manifest(layer, name, version))
        for name in {name for name, _ in manifests}:
            aliases |= self._named(name)
        reasons = {**self._newest(versions), **self._needs(), **aliases}
        mine = {(name, version) for name, found in versions.items() for version in found}
        reasons |= {key: "its model.json cannot be read" for key in mine if manifests.get(key) is None}
        kept = {key: each for key, each in manifests.items() if each is not None}
        _add_parents(reasons, kept, mine)
        return _Look({key: kept[key] for key in mine & set(kept)}, reasons)

    def _named(self, name: str) -> dict[Key, str]:
        shown: dict[str, str] = {}
        for layer in self._layers:
            shown |= layer.aliases(name)
        return {(name, version): f"{name}@{alias} names it" for alias, version in shown.items() if version}

    def _newest(self, versions: Mapping[str, Sequence[str]]) -> dict[Key, str]:
        """By number."""
        count = self._rules.keep_last
        return {
            (name, version): f"it is one of the {count} newest"
            for name, found in versions.items()
            for version in sorted(found, key=version_order, reverse=True)[:count]
        }


@dataclass(frozen=True)
class _Look:
    """What there was to see."""

    mine: Mapping[Key, Manifest]
    """Versions of the writable layer."""
    reasons: Mapping[Key, str]
    """Why versions stay."""


def _manifest(layer: Layer, name: str, version: str) -> Manifest | None:
    """None for one that is damaged. Raises where the place is away."""
    try:
        return layer.manifest(name, version)
    except ServiceError as error:
        if layer.holds(name, version):
            return None
        raise error


def _add_parents(reasons: dict[Key, str], manifests: Mapping[Key, Manifest], mine: set[Key]) -> None:
    """What a version that stays is made from, or names in its configuration, stays too."""
    waiting = [key for key in manifests if key in reasons or key not in mine]
    while waiting:
        key = waiting.pop()
        for named in _names(manifests[key]):
            if named in manifests and named not in reasons:
                reasons[named] = f"{key[0]}:{key[1]} names it"
                waiting.append(named)


def _names(manifest: Manifest) -> Iterator[Key]:
    """Every ``name:version`` in a manifest."""
    for text in (manifest.parent, *_texts(manifest.config)):
        name, colon, version = text.partition(":")
        if colon and (name, version) != (manifest.name, manifest.version):
            yield name, version


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)


def _broken(key: Key) -> Item:
    why = "a collection broke off while it removed this; the next one ends it"
    return Item("version", f"{key[0]}:{key[1]}", 0, why, None, is_due=True, key=key)
