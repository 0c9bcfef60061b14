"""PostgreSQL goes away and comes back: what needs no database goes on, nothing is lost."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from gateway.database import DatabaseSettings
from gateway.usage.ledger import FLUSH_SECONDS
from gateway.usage.store import Asked, UsageStore
from tests.distributed.caller import told_by_gateways
from tests.distributed.cluster import LIMITS, Cluster
from tests.distributed.jobs import Trainees
from tests.distributed.load import Load, told
from tests.distributed.result import Result

SECONDS = {"short": 10.0, "long": 60.0}
CALLS_AWAY = 100


def run(cluster: Cluster, scale: str) -> Result:
    """First sessions are dropped in the middle of their work and new ones refused, then nobody answers."""
    result = Result("database-away")
    jobs = Trainees(cluster)
    jobs.create()
    counted = _Counted(cluster)
    database = cluster.database
    with Load(cluster, key=counted.key) as load:
        load.wait_for(100)
        _while(cluster, load, "stopped", (database.stop, database.start), SECONDS[scale], result)
        _while(cluster, load, "silent", (database.freeze, database.thaw), SECONDS[scale], result)
        load.wait_for(100)
    needless = [each for each in load.failed if not each.kind.needs_database]
    # To one that says nothing calls go until their deadline.
    untold = [each for each in load.failed if each.kind.needs_database and not (each.reason or each.late)]
    result.figure("calls", len(load.outcomes))
    result.figure("failed that need no database", len(needless))
    result.figure("failed that need it, without a reason", len(untold))
    result.rule(not needless, f"what needs no database goes on: {told(needless)}")
    result.rule(not untold, f"what needs it is refused with a reason: {told(untold)}")
    lost = jobs.lost()
    jobs.close()
    result.figure("jobs lost", len(lost))
    result.rule(not lost, f"no job is lost: {lost}")
    made, found = counted.calls(len(load.outcomes))
    result.figure("calls made, calls in the usage", f"{made}, {found}")
    result.rule(made == found, f"usage counts every call once: {found} of {made}")
    return result


def _while(
    cluster: Cluster,
    load: Load,
    how: str,
    deeds: tuple[Callable[[], None], Callable[[], None]],
    seconds: float,
    result: Result,
) -> None:
    """Take the database away by the first of ``deeds`` and bring it back by the second."""
    away, back = deeds
    since = load.now()
    away()
    try:
        time.sleep(seconds)
        load.wait_for(CALLS_AWAY)
    finally:
        back()
    until = load.now()
    first = cluster.wait_for(lambda: _asked_again(load, until), "what needs the database is answered")
    during = [each for each in load.outcomes if since <= each.began < until]
    needing = [each for each in during if each.kind.needs_database]
    others = [each for each in during if not each.kind.needs_database]
    result.figure(f"{how} for, s", until - since)
    result.figure(f"{how}: calls that need no database", len(others))
    result.figure(f"{how}: slowest of these, s", max(each.seconds for each in others))
    result.figure(f"{how}: calls that need it, failed", f"{len(needing)}, {sum(not e.ok for e in needing)}")
    result.figure(f"{how}: first answer after its return, s", first)


def _asked_again(load: Load, since: float) -> bool:
    return any(each.ok and each.kind.needs_database and each.began >= since for each in list(load.outcomes))


class _Counted:
    """A key of its own, whose calls are all in the usage in the end."""

    def __init__(self, cluster: Cluster) -> None:
        """Returns once both gateways know the key."""
        self._cluster, self._name = cluster, f"counted-{uuid.uuid4().hex[:12]}"
        self.key = cluster.keys.add(self._name, limits=LIMITS)
        self._asked = 0
        cluster.wait_for(self._is_known, "a new key is known to both gateways")

    def calls(self, made: int) -> tuple[int, int]:
        """How many were made with the key, ``made`` by the load; how many the database has of them."""
        made += self._asked
        database = DatabaseSettings(self._cluster.databases["gateway"]).open()
        assert database is not None
        usage = UsageStore(database)

        def found() -> int:
            rows = usage.sums(Asked(("key",)))
            return sum(int(row["calls"]) for row in rows if row["key"] == self._name)

        try:
            self._cluster.wait_for(lambda: found() >= made, f"usage of {made} calls is written")
            time.sleep(2 * FLUSH_SECONDS)  # what should not be there would come now
            return made, found()
        finally:
            database.close()

    def _is_known(self) -> bool:
        told = told_by_gateways(self._cluster, self.key)
        self._asked += told.count("OK")
        return set(told) == {"OK"}
