"""Which version a checkpoint becomes, and whether it has: set aside first, marked last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.sql import ColumnElement

from services.common.database.clock import now
from services.common.database.database import Database
from services.common.errors import Code, Reason, ServiceError
from services.common.store import Manifest
from services.finetune.database.schema import CHECKPOINTS, PROMOTIONS
from services.finetune.jobs import rows
from services.finetune.jobs.job import Happening, Kind

Describe = Callable[[str], Manifest]
"""The manifest of a version, by its number."""


@dataclass(frozen=True)
class Wanted:
    """A checkpoint that is to be served as ``name``, and the alias that is to name it."""

    tenant: str
    job_id: str
    checkpoint_id: str
    name: str
    alias: str


@dataclass(frozen=True)
class Reserved:
    """The version that is a checkpoint's."""

    manifest: Manifest
    alias: str
    previous_version: str
    """What the alias named before; "" for nothing, and before it has moved."""
    published: bool


class PromotionRecords:
    """Blocking."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, wanted: Wanted, taken: Iterable[str], describe: Describe) -> Reserved:
        """The version that is the checkpoint's already, or the next, which no other gets then.

        ``taken``: those in the store. Raises FAILED_PRECONDITION where the checkpoint's files are gone.
        """

        def task(connection: Connection) -> Reserved:
            found = _find(connection, wanted)
            if found is not None:
                return found
            _check_files(connection, wanted)
            manifest = describe(_next(connection, wanted.name, taken))
            values = {**_key(wanted), "version": manifest.version, "manifest": _json(manifest)}
            more = {"alias": wanted.alias, "previous_version": "", "published": False, "created_at": now()}
            connection.execute(insert(PROMOTIONS).values(**values, **more))
            return Reserved(manifest, wanted.alias, "", False)

        return self._database.write(task)

    def move_on(self, wanted: Wanted, refused: str, taken: Iterable[str], describe: Describe) -> Reserved:
        """The version ``refused`` is another's, who published it by hand: take the next."""

        def task(connection: Connection) -> Reserved:
            found = _find(connection, wanted)
            assert found is not None
            if found.published or found.manifest.version != refused:
                return found
            manifest = describe(_next(connection, wanted.name, taken))
            change = {"version": manifest.version, "manifest": _json(manifest)}
            connection.execute(update(PROMOTIONS).where(_this(wanted)).values(**change))
            return Reserved(manifest, found.alias, "", False)

        return self._database.write(task)

    def note_previous(self, wanted: Wanted, previous: str) -> None:
        """What the alias named, before it moves: nobody could tell afterwards."""
        change = {"alias": wanted.alias, "previous_version": previous}
        self._database.write(
            lambda connection: connection.execute(update(PROMOTIONS).where(_this(wanted)).values(**change))
        )

    def find(self, wanted: Wanted) -> Reserved | None:
        """What is known of it."""
        return self._database.read(lambda connection: _find(connection, wanted))


def mark(connection: Connection, job: rows.Row, wanted: Wanted) -> None:
    """The version is in the store and the alias names it: the job says so, once."""
    found = _find(connection, wanted)
    assert found is not None, "it was reserved"
    if found.published:
        return
    model = f"{wanted.name}:{found.manifest.version}"
    told = {
        "checkpoint_id": wanted.checkpoint_id,
        "model": model,
        "alias": found.alias,
        "previous_version": found.previous_version,
    }
    values = {"promoted_checkpoint_id": wanted.checkpoint_id, "model": model}
    rows.change(connection, job, values, [Happening(Kind.PUBLISHED, told)])
    connection.execute(update(PROMOTIONS).where(_this(wanted)).values(published=True))
    mine = (CHECKPOINTS.c.tenant == wanted.tenant) & (CHECKPOINTS.c.job_id == wanted.job_id)
    is_it = CHECKPOINTS.c.checkpoint_id == wanted.checkpoint_id
    connection.execute(update(CHECKPOINTS).where(mine).values(promoted=is_it))


def gone(checkpoint_id: str) -> ServiceError:
    """FAILED_PRECONDITION: there is nothing left to publish."""
    what = f"the files of checkpoint {checkpoint_id} are gone, only its scores were kept"
    return ServiceError(Code.FAILED_PRECONDITION, Reason.CHECKPOINT_GONE, what)


def _check_files(connection: Connection, wanted: Wanted) -> None:
    """A garbage collection writes down that files are gone before it removes them."""
    mine = (CHECKPOINTS.c.tenant == wanted.tenant) & (CHECKPOINTS.c.checkpoint_id == wanted.checkpoint_id)
    if connection.scalar(select(CHECKPOINTS.c.size_bytes).where(mine)) == 0:
        raise gone(wanted.checkpoint_id)


def _next(connection: Connection, name: str, taken: Iterable[str]) -> str:
    """One more than the greatest number that is a version, or set aside to be one."""
    reserved = connection.scalars(select(PROMOTIONS.c.version).where(PROMOTIONS.c.name == name)).all()
    numbers = [int(each) for each in (*reserved, *taken) if each.isdecimal()]
    return f"{max(numbers, default=0) + 1}"


def _find(connection: Connection, wanted: Wanted) -> Reserved | None:
    found = connection.execute(select(PROMOTIONS).where(_this(wanted))).mappings().one_or_none()
    if found is None:
        return None
    manifest = Manifest.model_validate(found["manifest"])
    return Reserved(manifest, found["alias"], found["previous_version"], found["published"])


def _this(wanted: Wanted) -> ColumnElement[bool]:
    mine = (PROMOTIONS.c.tenant == wanted.tenant) & (PROMOTIONS.c.job_id == wanted.job_id)
    return mine & (PROMOTIONS.c.checkpoint_id == wanted.checkpoint_id) & (PROMOTIONS.c.name == wanted.name)


def _key(wanted: Wanted) -> dict[str, Any]:
    return {
        "tenant": wanted.tenant,
        "job_id": wanted.job_id,
        "checkpoint_id": wanted.checkpoint_id,
        "name": wanted.name,
    }


def _json(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json")
