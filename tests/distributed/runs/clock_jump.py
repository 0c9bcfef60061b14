"""The wall clock of a gateway and of a fine-tune service jumps two days ahead, and back."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.distributed.caller import told_by_gateways
from tests.distributed.cluster import Cluster
from tests.distributed.jobs import Trainees
from tests.distributed.load import Load, told
from tests.distributed.result import Result, Unavailable

_SOURCE = Path(__file__).parents[1] / "jumping_clock.c"
_TWO_DAYS = 2 * 24 * 3600
_PER_MINUTE = 40


def run(cluster: Cluster, scale: str) -> Result:
    """Calls and leases do not care; a key's expiry is told by the clock of the gateway that is asked."""
    result = Result("clock-jump")
    clock = cluster.folder / "clock"
    clock.write_text("0")
    jumping = [cluster["gateway-1"], cluster["finetune-1"]]
    faked = _faked(cluster.folder, clock)
    for process in jumping:
        process.restart(**faked)
        cluster.wait_whole()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    passing = cluster.keys.add("passing", expires=tomorrow)
    limited = cluster.keys.add("limited", limits={"requests_per_minute": _PER_MINUTE})
    jobs = Trainees(cluster)
    with Load(cluster) as load:
        cluster.wait_for(lambda: set(told_by_gateways(cluster, passing)) == {"OK"}, "the new keys are known")
        jobs.create()
        jobs.create()
        load.wait_for(100)
        clock.write_text(str(_TWO_DAYS))
        load.wait_for(200)
        ahead = told_by_gateways(cluster, passing)
        began = load.now()
        let_in = sum(told_by_gateways(cluster, limited).count("OK") for _ in range(_PER_MINUTE))
        refilled = (load.now() - began) * _PER_MINUTE / 60
        lost = jobs.lost()
        clock.write_text("0")
        load.wait_for(200)
        back = told_by_gateways(cluster, passing)
    again = [job_id for job_id in jobs.accepted if jobs.job(job_id).attempts > 1]
    jobs.close()
    result.figure("calls", len(load.outcomes))
    result.figure("failed", len(load.failed))
    result.figure("key that expires tomorrow, two days ahead, by gateway", ", ".join(ahead))
    result.figure("the same after the clock went back", ", ".join(back))
    result.figure(f"let in of {2 * _PER_MINUTE} calls of a key with {_PER_MINUTE} a minute", let_in)
    result.figure("jobs, started more than once", f"{len(jobs.accepted)}, {len(again)}")
    result.rule(not load.failed, f"no call fails: {told(load.failed)}")
    by_own = ahead == ["KEY_EXPIRED", "OK"] and back == ["OK", "OK"]
    result.rule(by_own, f"keys expire by the gateway's own clock: {ahead}, {back}")
    # What one gateway holds unused is missing, what came while it asked is overdrawn: a slice each.
    is_held = _PER_MINUTE - 6 <= let_in <= _PER_MINUTE + refilled + 6
    result.rule(is_held, f"limits go by the database's clock: {let_in}, {refilled:.1f} refilled meanwhile")
    result.rule(not lost and not again, f"leases go by the database's clock: {lost} {again}")
    for process in jumping:
        process.restart()
        cluster.wait_whole()
    return result


def _faked(folder: Path, clock: Path) -> dict[str, str]:
    """Variables under which a process adds a file's seconds to the time of day; raises Unavailable."""
    library = folder / "jumping_clock.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"no clock to jump with: {error}") from None
    return {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(clock)}
