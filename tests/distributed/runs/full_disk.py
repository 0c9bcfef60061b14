"""The disk of one machine is full: cache, logs, audit lines, uploads and usage records find no room."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway.usage.ledger import FLUSH_SECONDS
from pequod_client.errors import PequodError
from tests.distributed.caller import FILES, Caller
from tests.distributed.cluster import Cluster
from tests.distributed.load import Load, told
from tests.distributed.result import Result, Unavailable
from tests.distributed.store import Shelf

_MODEL = "roomy"
_MEGABYTES = 24
_MACHINE = 1


def run(cluster: Cluster, scale: str) -> Result:
    """Calls go on; what needs the room is refused with the reason, and waits or works again after."""
    result = Result("full-disk")
    moved = [cluster[f"{name}-{_MACHINE}"] for name in ("sampler", "finetune", "gateway")]
    Shelf(cluster).publish(_MODEL, "1")
    with _small_disk(cluster.folder / "small") as disk:
        logs = {process: process.log for process in moved}
        for process in moved:
            process.log = disk / f"{process.name}.log"
            process.restart(**_on(disk))
            cluster.wait_whole()
        with Load(cluster) as load:
            load.wait_for(100)
            filler = _fill(disk)
            load.wait_for(200)
            _refused(cluster, result)
            load.wait_for(100)
            filler.unlink()
            _works_again(cluster, result)
            load.wait_for(100)
        # While there are calls there is always something to be written.
        cluster.wait_for(lambda: _pending(cluster) == 0, "usage records are written", 4 * FLUSH_SECONDS)
        result.figure("usage", "written")
        result.figure("calls", len(load.outcomes))
        result.figure("failed", len(load.failed))
        result.rule(not load.failed, f"no call fails: {told(load.failed)}")
        for process in moved:
            result.rule(process.stop() == 0, f"{process.name} ends in order after all this")
            result.rule("usage lost" not in process.tail(), "no usage record is lost")
            process.log = logs[process]
            process.start()
            process.wait_ready()
            cluster.wait_whole()
    return result


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own in memory. Raises Unavailable where none may be mounted."""
    folder.mkdir()
    size = f"size={_MEGABYTES}m"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Unavailable(f"no file system may be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: whoever still has a file open there lets go of it later.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _on(disk: Path) -> dict[str, str]:
    """Settings that put everything which a process writes on the disk."""
    return {
        "PEQUOD_CACHE": str(disk / "cache"),
        "PEQUOD_AUDIT_FILE": str(disk / "audit.jsonl"),
        "PEQUOD_FINETUNE_WORK": str(disk / "work"),
        "PEQUOD_GATEWAY_DATABASE_URL": f"sqlite:///{disk}/usage.db",
    }


def _fill(disk: Path) -> Path:
    """Take all the room that is left; returns the file to remove."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def _needing_room(cluster: Cluster) -> dict[str, Callable[[], PequodError | None]]:
    """What cannot be done on a full disk, each asked of the process that is there."""

    def load() -> PequodError | None:
        with Caller(cluster, cluster[f"sampler-{_MACHINE}"]) as caller:
            return caller.refusal_to_load(f"{_MODEL}:1")

    def upload() -> PequodError | None:
        with Caller(cluster, cluster[f"finetune-{_MACHINE}"]) as caller:
            return caller.refusal_to_upload(FILES)

    return {"loading a model into the cache": load, "an upload": upload}


def _refused(cluster: Cluster, result: Result) -> None:
    for what, ask in _needing_room(cluster).items():
        refused = ask()
        result.figure(f"{what}, on the full disk", refused)
        told_so = refused is not None and refused.reason == "DISK_FULL"
        result.rule(told_so, f"{what} is refused with the reason: {refused}")


def _works_again(cluster: Cluster, result: Result) -> None:
    for what, ask in _needing_room(cluster).items():
        cluster.wait_for(lambda ask=ask: ask() is None, f"{what} works again")
    result.figure("once there is room", "loaded, uploaded")


def _pending(cluster: Cluster) -> float:
    """Lines of usage that the gateway on the disk could not write yet."""
    told = cluster.metrics(cluster[f"gateway-{_MACHINE}"])
    return float(
        next(line.split()[1] for line in told.splitlines() if line.startswith("pequod_usage_pending "))
    )
