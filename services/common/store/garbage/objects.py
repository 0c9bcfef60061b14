"""An object store's garbage: the manifest goes first, into a record, then the files, then the record."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

from services.common.store.garbage.bins import REMOVED, UNUSED, Key, Leftover
from services.common.store.manifest import MANIFEST_NAME
from services.common.store.objects import ObjectLayer, manifest_key
from services.common.upkeep.errors import UpkeepError

_LOCK = ".collecting"
_LOCK_SECONDS = 6 * 3600.0
"""After which a collection that did not end is taken for dead."""
_FILES = "files"


class ObjectBin:
    """Of an ``ObjectLayer``. While a record stands, whoever publishes that version waits: see ``publish``."""

    def __init__(self, layer: ObjectLayer) -> None:
        self._layer = layer
        self._store = layer.objects

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """By an object that is written only if absent; an old one is taken over while it is as it was."""
        mine = json.dumps({"by": uuid.uuid4().hex, "since": time.time()}).encode()
        with self._layer.answering():
            self._take(mine)
        try:
            yield
        finally:
            with self._layer.answering(), contextlib.suppress(NotFoundError, FileNotFoundError):
                if bytes(obstore.get(self._store, _LOCK).bytes()) == mine:
                    obstore.delete(self._store, _LOCK)

    def published_at(self, key: Key) -> float:
        """When its manifest was put there, after all files."""
        with self._layer.answering():
            return obstore.head(self._store, manifest_key(*key))["last_modified"].timestamp()

    def marks(self) -> Mapping[Key, float]:
        """A mark is as old as its object."""
        return {
            _key(each["path"], UNUSED): each["last_modified"].timestamp() for each in self._list(f"{UNUSED}/")
        }

    def mark(self, key: Key) -> None:
        """A small object; one that is there stays."""
        with self._layer.answering(), contextlib.suppress(AlreadyExistsError, PreconditionError):
            obstore.put(self._store, _under(UNUSED, key), b"{}", mode="create")

    def unmark(self, key: Key) -> None:
        """Nothing happens without a mark."""
        self._delete(_under(UNUSED, key))

    def hide(self, key: Key) -> bool:
        """Copy the manifest into a record, then delete it: a version without one is nobody's to see."""
        with self._layer.answering():
            try:
                content = bytes(obstore.get(self._store, manifest_key(*key)).bytes())
                obstore.put(self._store, _under(REMOVED, key), content, mode="create")
            except (NotFoundError, FileNotFoundError, AlreadyExistsError, PreconditionError):
                return False
        self._delete(manifest_key(*key))
        return True

    def hidden(self) -> Sequence[Key]:
        """Records."""
        return [_key(each["path"], REMOVED) for each in self._list(f"{REMOVED}/")]

    def bring_back(self, key: Key) -> None:
        """The manifest, from the record; what somebody published there meanwhile stays."""
        record = _under(REMOVED, key)
        with self._layer.answering():
            content = bytes(obstore.get(self._store, record).bytes())
            if content:
                with contextlib.suppress(AlreadyExistsError, PreconditionError):
                    obstore.put(self._store, manifest_key(*key), content, mode="create")
        self._delete(record)

    def drop(self, key: Key) -> None:
        """Files, then the record; none where somebody has published the version anew."""
        if not self._layer.holds(*key):
            # Should it be broken off here, or its manifest come now, its publisher finds what is missing.
            for each in self._list(f"{key[0]}/{key[1]}/{_FILES}/"):
                self._delete(each["path"])
        self._delete(_under(REMOVED, key))

    def leftovers(self) -> Sequence[Leftover]:
        """Files of versions without a manifest and without a record."""
        objects = self._list("")
        known = {each["path"].removesuffix(f"/{MANIFEST_NAME}") for each in objects}
        known |= {each["path"].removeprefix(f"{REMOVED}/") for each in objects}
        found: dict[str, Leftover] = {}
        for each in objects:
            parts = each["path"].split("/")
            where = "/".join(parts[:2])
            if len(parts) < 4 or parts[2] != _FILES or where in known:
                continue
            before = found.get(where, Leftover(where, 0, 0.0))
            changed = max(before.changed_at, each["last_modified"].timestamp())
            found[where] = Leftover(where, before.size_bytes + each["size"], changed)
        return list(found.values())

    def drop_leftover(self, leftover: Leftover) -> bool:
        """As ``drop``, under a record without a manifest."""
        name, _, version = leftover.where.partition("/")
        times = [each["last_modified"].timestamp() for each in self._list(f"{leftover.where}/{_FILES}/")]
        if max(times, default=0.0) > leftover.changed_at:
            return False
        try:
            with self._layer.answering():
                obstore.put(self._store, _under(REMOVED, (name, version)), b"", mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        is_published = self._layer.holds(name, version)
        self.drop((name, version))
        return not is_published

    def _take(self, mine: bytes) -> None:
        try:
            obstore.put(self._store, _LOCK, mine, mode="create")
            return
        except (AlreadyExistsError, PreconditionError):
            pass
        found = obstore.get(self._store, _LOCK)
        since, etag = found.meta["last_modified"].timestamp(), found.meta["e_tag"]
        try:
            if time.time() - since > _LOCK_SECONDS and etag is not None:
                obstore.put(self._store, _LOCK, mine, mode={"e_tag": etag})
                return
        except PreconditionError:
            pass
        raise UpkeepError(f"another collection is under way in the {self._layer.name} layer: see {_LOCK}")

    def _delete(self, path: str) -> None:
        with self._layer.answering(), contextlib.suppress(NotFoundError, FileNotFoundError):
            obstore.delete(self._store, path)

    def _list(self, prefix: str) -> list[Any]:
        with self._layer.answering():
            batches = obstore.list(self._store, prefix=prefix or None)
            found = [item for batch in batches for item in batch]
        # A prefix of an object store ends with a whole part of a path; others of its kind are let go by.
        return [item for item in found if str(item["path"]).startswith(prefix)]


def _under(prefix: str, key: Key) -> str:
    return f"{prefix}/{key[0]}/{key[1]}"


def _key(path: str, prefix: str) -> Key:
    name, _, version = path.removeprefix(f"{prefix}/").partition("/")
    return name, version
