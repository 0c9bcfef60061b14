"""Which versions of models jobs need, or may need yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, or_, select, true

from services.common.database.clock import now
from services.common.database.database import Database
from services.common.errors import Code, ServiceError
from services.common.store import ModelStore
from services.finetune.database.schema import JOBS, PROMOTIONS
from services.finetune.jobs.states import ENDED
from services.finetune.waiting import wait

Key = tuple[str, str]
"""Name and version of a model."""

_ENDED = [state.value for state in ENDED]


class JobNeeds:
    """What the database says. Blocking; outside of any call, so that it sees the jobs of every tenant."""

    def __init__(self, database: Database, store: ModelStore, seconds: float | None) -> None:
        """``seconds``: for which what an ended job published may be promoted again; None: for ever."""
        self._database, self._store, self._seconds = database, store, seconds

    def __call__(self) -> Mapping[Key, str]:
        """Versions, each with the reason why it stays."""
        named, keys = self._database.read(self._asked)
        return {**{key: why for reference, why in named for key in self._resolved(reference)}, **keys}

    def _asked(self, connection: Connection) -> tuple[list[tuple[str, str]], dict[Key, str]]:
        return list(_bases(connection)), dict(self._results(connection))

    def _results(self, connection: Connection) -> Iterator[tuple[Key, str]]:
        """What is being published; what may be promoted again; where a roll back would lead."""
        at_work = JOBS.c.state.not_in(_ENDED)
        lately = true() if self._seconds is None else JOBS.c.ended_at > now(-self._seconds)
        join = PROMOTIONS.join(
            JOBS, (JOBS.c.tenant == PROMOTIONS.c.tenant) & (JOBS.c.job_id == PROMOTIONS.c.job_id)
        )
        needed = or_(~PROMOTIONS.c.published, at_work, lately)
        query = select(PROMOTIONS).select_from(join).where(needed).order_by(PROMOTIONS.c.created_at)
        for row in connection.execute(query).mappings():
            why = f"job {row['job_id']} publishes it, or may do so again"
            yield (row["name"], row["version"]), why
        # In the order of time, so that of each alias the last move counts.
        moves = connection.execute(select(PROMOTIONS).order_by(PROMOTIONS.c.created_at)).mappings()
        last = {(row["name"], row["alias"]): row["previous_version"] for row in moves}
        for (name, alias), version in last.items():
            if version:
                yield (name, version), f"{name}@{alias} named it before the last promotion"

    def _resolved(self, reference: str) -> Iterator[Key]:
        """The version that a base names now; none for what is not in the store."""
        if reference.startswith(("hf:", "file:")):
            return
        try:
            yield wait(self._store.resolve(reference)).key
        except ServiceError as error:
            if error.code not in (Code.NOT_FOUND, Code.INVALID_ARGUMENT):
                raise


def _bases(connection: Connection) -> Iterator[tuple[str, str]]:
    """References that jobs start from which have not ended, as they were asked for and as they were read."""
    query = select(JOBS.c.job_id, JOBS.c.spec, JOBS.c.base_version).where(JOBS.c.state.not_in(_ENDED))
    for row in connection.execute(query):
        for reference in {row.spec["base"], row.base_version} - {""}:
            yield reference, f"job {row.job_id} starts from it"
