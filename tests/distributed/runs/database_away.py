"""PostgreSQL goes away and comes back: what needs no database goes on, nothing is lost."""

from __future__ import annotations

import time

from gateway.database import DatabaseSettings
from gateway.usage.ledger import FLUSH_SECONDS
from gateway.usage.store import Asked, UsageStore
from tests.distributed.cluster import Cluster
from tests.distributed.jobs import Trainees
from tests.distributed.kinds import KINDS
from tests.distributed.load import Load, told
from tests.distributed.result import Result

SECONDS = {"short": 10.0, "long": 60.0}
CALLS_AWAY = 100


def run(cluster: Cluster, scale: str) -> Result:
    """Sessions are dropped in the middle of their work, and nobody answers for a while."""
    result = Result("database-away")
    jobs = Trainees(cluster)
    jobs.create()
    with Load(cluster) as load:
        load.wait_for(100)
        gone = load.now()
        cluster.database.stop()
        time.sleep(SECONDS[scale])
        load.wait_for(CALLS_AWAY)
        cluster.database.start()
        back = load.now()
        first = cluster.wait_for(lambda: _asked_again(load, back), "what needs the database is answered")
        load.wait_for(100)
    needless = [each for each in load.failed if not each.kind.needs_database]
    unreasoned = [each for each in load.failed if each.kind.needs_database and not each.reason]
    others = [each for each in load.outcomes if gone <= each.began < back and not each.kind.needs_database]
    result.figure("away, s", back - gone)
    result.figure("calls meanwhile that need no database", len(others))
    result.figure("of these failed", len(needless))
    result.figure("slowest of these, s", max(each.seconds for each in others))
    result.figure("calls that need it, refused with a reason", sum(bool(each.reason) for each in load.failed))
    result.figure("first answer after its return, s", first)
    result.rule(not needless, f"what needs no database goes on: {told(needless)}")
    result.rule(not unreasoned, f"what needs it is refused with a reason: {told(unreasoned)}")
    lost = jobs.lost()
    jobs.close()
    result.rule(not lost, f"no job is lost: {lost}")
    _settle_usage(cluster, load, result)
    return result


def _asked_again(load: Load, since: float) -> bool:
    return any(each.ok and each.kind.needs_database and each.began >= since for each in list(load.outcomes))


def _settle_usage(cluster: Cluster, load: Load, result: Result) -> None:
    """Every call that reached a gateway is in the database in the end, once."""
    time.sleep(FLUSH_SECONDS)
    made, methods = len(load.outcomes), {kind.method for kind in KINDS}
    database = DatabaseSettings(cluster.databases["gateway"]).open()
    assert database is not None

    def counted() -> int:
        rows = UsageStore(database).sums(Asked(("key", "method")))
        return sum(row["calls"] for row in rows if row["method"] in methods)

    try:
        cluster.wait_for(lambda: counted() >= made, f"usage of {made} calls is written")
        result.figure("calls made, calls in the usage", f"{made}, {counted()}")
        result.rule(counted() == made, f"usage counts every call once: {counted()} of {made}")
    finally:
        database.close()
