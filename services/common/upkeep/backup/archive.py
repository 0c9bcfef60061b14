"""Where backups lie: a folder, or a URL. Bytes lie once, by their hash, however many backups hold them."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from pydantic import ValidationError

from services.common.store.objects import open_object_store
from services.common.upkeep.backup.contents import Contents, Piece
from services.common.upkeep.errors import UpkeepError

_CONTENT, _BACKUPS = "content", "backups"
_OTHERS = "it holds other bytes than its name says"
_CHUNK = 8 * 2**20
_SMALL = 32 * 2**20
"""Bytes that are held in memory on their way; more go through a file."""


class Archive:
    """Blocking. Methods raise UpkeepError, naming the file, for what is damaged or cannot be reached."""

    def __init__(self, place: str, is_new: bool = False) -> None:
        """``is_new``: a folder is made where there is none, for nobody else to read: it holds keys."""
        self.place = place
        if "://" not in place:
            folder = Path(place).resolve()
            if is_new:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            elif not folder.is_dir():
                raise UpkeepError(f"{place} is no folder")
            place = folder.as_uri()
        with self._answering(place):
            self._store = open_object_store(place)
        self._sizes: dict[str, int] | None = None

    def add(self, chunks: Iterable[bytes], expected: Piece | None = None) -> Piece:
        """Keep these bytes, unless they are there. Raises UpkeepError where they are not ``expected``."""
        with _spooled(chunks) as (file, piece):
            if expected is not None and piece != expected:
                raise UpkeepError(f"read {piece.sha256}, where {expected.sha256} should be")
            if not self.has(piece):
                with self._answering(piece.sha256):
                    obstore.put(self._store, _key(piece), file)
                self._known()[_key(piece)] = piece.size_bytes
        return piece

    def has(self, piece: Piece) -> bool:
        """Whether bytes of that hash and size are there; they are not read."""
        return self._known().get(_key(piece)) == piece.size_bytes

    def read(self, piece: Piece) -> Iterator[bytes]:
        """The bytes; raises after the last of them where they are not what their name says."""
        digest = hashlib.sha256()
        with self._answering(_key(piece)):
            for chunk in obstore.get(self._store, _key(piece)).stream(min_chunk_size=_CHUNK):
                digest.update(chunk)
                yield bytes(chunk)
        if digest.hexdigest() != piece.sha256:
            raise UpkeepError(
                f"{self.place}/{_key(piece)} is damaged: it holds other bytes than its name says"
            )

    def finish(self, contents: Contents) -> str:
        """Write down what a backup holds, last of all; returns its name, which tells its hash."""
        text = contents.model_dump_json(indent=1).encode()
        name = f"{contents.created:%Y%m%dT%H%M%S-%f}-{hashlib.sha256(text).hexdigest()[:16]}"
        with self._answering(name), contextlib.suppress(AlreadyExistsError):
            obstore.put(self._store, _backup(name), text, mode="create")
        return name

    def names(self) -> list[str]:
        """Of all backups, the oldest first."""
        with self._answering(_BACKUPS):
            found = [item["path"] for batch in obstore.list(self._store, prefix=_BACKUPS) for item in batch]
        return sorted(path.removeprefix(f"{_BACKUPS}/").removesuffix(".json") for path in found)

    def contents(self, name: str = "") -> Contents:
        """Of the backup ``name``; "": the newest."""
        names = self.names()
        if not names or (name and name not in names):
            known = f"; there are {', '.join(names)}" if names else ""
            raise UpkeepError(f"{self.place} has no backup{f' {name!r}' if name else ''}{known}")
        chosen = name or names[-1]
        with self._answering(chosen):
            text = bytes(obstore.get(self._store, _backup(chosen)).bytes())
        where = f"{self.place}/{_backup(chosen)}"
        if not chosen.endswith(hashlib.sha256(text).hexdigest()[:16]):
            raise UpkeepError(f"{where} is damaged: {_OTHERS}")
        try:
            return Contents.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UpkeepError(
                f"{where} is of another version of this program: {place}: {first['msg']}"
            ) from None

    def _known(self) -> dict[str, int]:
        if self._sizes is None:
            with self._answering(_CONTENT):
                batches = obstore.list(self._store, prefix=_CONTENT)
                self._sizes = {str(item["path"]): item["size"] for batch in batches for item in batch}
        return self._sizes

    @contextlib.contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError:
            raise
        except (NotFoundError, FileNotFoundError):
            raise UpkeepError(f"{self.place}/{what} is missing") from None
        except (BaseError, OSError) as error:
            first = (str(error).strip().splitlines() or [""])[0][:300]
            raise UpkeepError(f"{self.place} does not answer: {first}") from None


def _key(piece: Piece) -> str:
    return f"{_CONTENT}/{piece.sha256[:2]}/{piece.sha256}"


def _backup(name: str) -> str:
    return f"{_BACKUPS}/{name}.json"


@contextlib.contextmanager
def _spooled(chunks: Iterable[bytes]) -> Iterator[tuple[IO[bytes], Piece]]:
    """The bytes in a file that is gone afterwards, and what they are."""
    digest, size = hashlib.sha256(), 0
    with tempfile.SpooledTemporaryFile(_SMALL) as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.seek(0)
        yield file, Piece(sha256=digest.hexdigest(), size_bytes=size)
