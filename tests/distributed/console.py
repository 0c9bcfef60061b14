"""The cluster in the foreground, for a person: addresses, and one line for each thing to do to a process."""

from __future__ import annotations

import sys

from tests.distributed.cluster import MACHINES, Cluster
from tests.distributed.process import NotReady, Process

_DEEDS = ("stop", "kill", "freeze", "thaw", "start", "restart", "log")


def run(cluster: Cluster) -> None:
    """Obey lines ``DEED NAME`` until the end of input, or Ctrl-C."""
    _say(_addresses(cluster))
    for line in sys.stdin:
        _say(obey(cluster, line.split()))


def obey(cluster: Cluster, words: list[str]) -> str:
    """Do what a line says; returns what to show."""
    match words:
        case []:
            return ""
        case ["status"]:
            return "\n".join(_standing(process) for process in cluster.processes.values())
        case [deed, name] if deed in _DEEDS and name in cluster.processes:
            try:
                return f"{deed} {name}: {_done(deed, cluster[name])}"
            except (LookupError, NotReady) as error:
                return str(error)
        case _:
            deeds, names = ", ".join(_DEEDS), ", ".join(cluster.processes)
            return f"status, or DEED NAME; deeds: {deeds}; names: {names}"


def _done(deed: str, process: Process) -> str:
    """What became of it."""
    match deed:
        case "stop":
            return f"exit code {process.stop()}"
        case "start":
            process.start()
            return f"ready after {process.wait_ready():.1f} s"
        case "restart":
            return f"ready after {process.restart():.1f} s"
        case "log":
            return process.tail()
        case "kill":
            process.kill()
        case "freeze":
            process.freeze()
        case "thaw":
            process.thaw()
    return "done"


def _standing(process: Process) -> str:
    try:
        return f"{process.name:<12} pid {process.pid}, {'ready' if process.ready() else 'not ready'}"
    except LookupError:
        return f"{process.name:<12} does not run"


def _addresses(cluster: Cluster) -> str:
    ports = cluster.ports
    first = f"{MACHINES[1]}:{ports['gateway']}"
    certificate = cluster.front.envoys[0].folder / "tls.crt"
    lines = [f"front      https://{cluster.front.target} (gRPC and HTTP, by both Envoys; {certificate})"]
    for machine, host in MACHINES.items():
        lines.append(f"gateway-{machine}  {host}:{ports['gateway']}, http://{host}:{ports['gateway-http']}")
    lines += [
        f"key        {cluster.key}",
        f"logs       {cluster.folder}",
        f"try        PEQUOD_TARGET={first} PEQUOD_API_KEY=… .venv/bin/pequod models ls",
        "then a line such as `kill sampler-1`, `freeze gateway-2`, `status`; Ctrl-C ends it all",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
