"""The S3 store goes away, stands still, holds a damaged file; then a cache does: who serves goes on."""

from __future__ import annotations

import time

from tests.distributed.caller import Caller
from tests.distributed.cluster import Cluster
from tests.distributed.load import Load, told
from tests.distributed.result import Result
from tests.distributed.store import FILE, Shelf, damage_cache

SECONDS = {"short": 15.0, "long": 60.0}
MODEL = "mine"


def run(cluster: Cluster, scale: str) -> Result:
    """No call that names a loaded model fails; the others say which place, which file, which digests."""
    result = Result("store-away")
    shelf, caller = Shelf(cluster), Caller(cluster)
    shelf.publish(MODEL, "1")
    shelf.point(MODEL, "1")
    cluster.wait_for(lambda: caller.serves(MODEL, "1"), "both replicas serve version 1")
    shelf.publish("unread", "1")
    cluster.wait_for(
        lambda: _known_by_all(cluster, "unread"), "the store's watchers have seen a model that nobody loads"
    )
    with Load(cluster) as load:
        _away(cluster, caller, scale, result)
        _silent(cluster, caller, scale, result)
        _damaged(cluster, shelf, caller, result)
        _damaged_cache(cluster, shelf, caller, result)
        load.wait_for(100)
    result.figure("calls", len(load.outcomes))
    result.figure("failed", len(load.failed))
    result.rule(not load.failed, f"no call fails: {told(load.failed)}")
    return result


def _known_by_all(cluster: Cluster, name: str) -> bool:
    """Whether each replica that could load a model lists it."""
    for replica in ("sampler-1", "sampler-2"):
        with Caller(cluster, cluster[replica]) as caller:
            if not caller.knows(name):
                return False
    return True


def _away(cluster: Cluster, caller: Caller, scale: str, result: Result) -> None:
    cluster.store_link.cut()
    ends = time.monotonic() + SECONDS[scale]
    refused = caller.refusal_to_load("unread:1")
    while time.monotonic() < ends:
        result.rule(caller.serves(MODEL, "1"), "what is loaded goes on while the store is away")
        time.sleep(0.5)
    cluster.store_link.mend()
    back = cluster.wait_for(lambda: caller.refusal_to_load("unread:1") is None, "the store is read again")
    result.figure("store away, s", SECONDS[scale])
    result.figure("refusal of what is not loaded", refused)
    result.figure("read again after, s", back)
    result.rule(
        refused is not None and (refused.code.name, refused.reason) == ("UNAVAILABLE", "STORE_UNREACHABLE"),
        f"what is not loaded is refused with the reason: {refused}",
    )


def _silent(cluster: Cluster, caller: Caller, scale: str, result: Result) -> None:
    cluster["s3"].freeze()
    try:
        ends = time.monotonic() + SECONDS[scale]
        while time.monotonic() < ends:
            result.rule(caller.serves(MODEL, "1"), "what is loaded goes on while the store says nothing")
            time.sleep(0.5)
    finally:
        cluster["s3"].thaw()
    result.figure("store silent, s", SECONDS[scale])


def _damaged(cluster: Cluster, shelf: Shelf, caller: Caller, result: Result) -> None:
    damaged = shelf.publish(MODEL, "2")
    shelf.damage(damaged)
    shelf.point(MODEL, "2")
    refused = caller.refusal_to_load(f"{MODEL}:2")
    said = "" if refused is None else str(refused)
    result.figure("refusal of a damaged file", said)
    for what in ("DATA_LOSS", FILE, damaged.files[0].sha256[:16], "its sha256 is"):
        result.rule(what in said, f"the refusal of a damaged file says {what!r}: {said}")
    time.sleep(6)  # longer than the services' look at the store takes to come round
    result.rule(caller.serves(MODEL, "1"), "the version before goes on while the new one is damaged")
    shelf.mend(damaged)
    shelf.publish(MODEL, "3")
    shelf.point(MODEL, "3")
    taken = cluster.wait_for(lambda: caller.serves(MODEL, "3"), "both replicas serve version 3")
    result.figure("a whole version is served after, s", taken)


def _damaged_cache(cluster: Cluster, shelf: Shelf, caller: Caller, result: Result) -> None:
    published = shelf.publish(MODEL, "4")
    shelf.point(MODEL, "4")
    cluster.wait_for(lambda: caller.serves(MODEL, "4"), "both replicas serve version 4")
    file = damage_cache(cluster, 1, published)
    cluster["sampler-1"].restart()
    cluster.wait_whole()
    cluster.wait_for(lambda: caller.serves(MODEL, "4"), "the damaged copy is replaced")
    healed = "fetched anew" in cluster["sampler-1"].log.read_text()
    result.figure("damaged copy in a cache", f"{file.name}: {'fetched anew' if healed else 'not noticed'}")
    result.rule(healed, "a damaged copy in a cache is fetched anew")
