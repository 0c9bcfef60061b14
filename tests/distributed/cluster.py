"""Two replicas of every service, two gateways, two Envoys, PostgreSQL and an S3 store, on loopback addresses.

Machine 1 is 127.0.0.2, machine 2 is 127.0.0.3; both have the same ports, as machines have. What they share
(keys, files on their way into data sets) is in one folder, all else of each in its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from services.common.catalogue import SERVICES
from tests.clients.envoy import Door
from tests.distributed.front import Front
from tests.distributed.link import Link
from tests.distributed.process import NotReady, Process, answers, fetch
from tests.ports import lasting_ports
from tests.unit import postgres
from tests.unit.gateway.key_parts import Keys

MACHINES = {1: "127.0.0.2", 2: "127.0.0.3"}
BUCKET = "pequod"
DRAIN_SECONDS = 4.0
"""Envoy asks a gateway every two seconds whether it is ready, and waits one for the answer."""
SMALL = {
    "PEQUOD_SAMPLER_PRELOAD": "moby-ngram",
    "PEQUOD_TOKENIZER_PRELOAD": "gpt2,words",
    "PEQUOD_DIFFUSION_PRELOAD": "peeps-diffusion",
    "PEQUOD_TOKENIZER_DEFAULT_ENCODING": "gpt2",
}
"""Fewer models, for a start in less time."""
JOBS = {"PEQUOD_FINETUNE_JOB_THREADS": "1", "PEQUOD_FINETUNE_NICE": "0"}
LIMITS = {"requests_per_minute": 1_000_000, "concurrent": 1000, "tokens_per_minute": 1_000_000_000}


@dataclass
class Cluster:
    """All of it. Processes go by names: ``sampler-2``, ``gateway-1``, ``envoy-2``, ``s3``."""

    folder: Path
    processes: dict[str, Process]
    ports: Mapping[str, int]
    front: Front
    database: postgres.Server
    databases: Mapping[str, str]
    """URLs of the gateways' database and of the jobs'."""
    store_link: Link
    """On the way to the S3 store."""
    s3: Any
    """A client of the S3 store."""
    keys: Keys
    key: str
    """What opens the gateways: all groups, limits that are never reached but are counted."""
    variables: Mapping[str, str]
    """What every process has in its environment."""

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    @property
    def s3_variables(self) -> dict[str, str]:
        """By which clients find the S3 store: past the link, and with its credentials."""
        known = {name: value for name, value in self.variables.items() if name.startswith("AWS_")}
        return known | {"AWS_ENDPOINT_URL": str(self.s3.meta.endpoint_url)}

    @property
    def gateways(self) -> list[Process]:
        """Both."""
        return [self[f"gateway-{machine}"] for machine in MACHINES]

    @property
    def replicas(self) -> list[Process]:
        """Every replica of every service."""
        return [self[f"{service.name}-{machine}"] for service in SERVICES for machine in MACHINES]

    def machine(self, process: Process) -> str:
        """The address that a gateway, or a replica, listens on."""
        return MACHINES[int(process.name[-1])]

    def whole(self) -> bool:
        """Whether both gateways see every replica, and both Envoys see both gateways."""
        return all(self.sees_all(each) for each in self.gateways) and min(self.front.sees()) == len(MACHINES)

    def sees_all(self, gateway: Process) -> bool:
        """Whether every replica takes calls from ``gateway``, as far as that one knows."""
        try:
            known = [one for backends in self.seen_by(gateway).values() for one in backends]
        except OSError:
            return False
        return all(one["healthy"] and not one["ejected"] for one in known)

    def wait_whole(self, seconds: float = 120.0) -> float:
        """Wait until it is; returns the seconds it took. Raises NotReady."""
        return self.wait_for(self.whole, "the cluster is whole", seconds)

    def wait_for(self, reached: Callable[[], bool], what: str, seconds: float = 60.0) -> float:
        """Wait until ``reached``; returns the seconds it took. Raises NotReady naming ``what``."""
        began = time.monotonic()
        while not reached():
            if time.monotonic() - began > seconds:
                raise NotReady(f"not within {seconds:g} s: {what}")
            time.sleep(0.1)
        return time.monotonic() - began

    def seen_by(self, gateway: Process) -> dict[str, list[dict[str, Any]]]:
        """What a gateway knows of each service's backends."""
        report = json.loads(fetch(f"http://{self.machine(gateway)}:{self.ports['gateway-http']}/readyz")[1])
        return {name: known["backends"] for name, known in report["services"].items()}

    def metrics(self, process: Process) -> str:
        """What its /metrics says."""
        port = self.ports[process.name[:-2] + ("-admin" if process in self.gateways else "-side")]
        return fetch(f"http://{self.machine(process)}:{port}/metrics")[1]


@contextlib.contextmanager
def running(folder: Path, **variables: str) -> Iterator[Cluster]:
    """A whole cluster, started; nothing of it is left afterwards.

    ``variables`` are for every process. Raises postgres.NoServer where there is no PostgreSQL; skips the
    test where there is no Envoy.
    """
    with contextlib.ExitStack() as stack:
        cluster = _assembled(folder, variables, stack)
        stack.callback(_end, cluster)
        cluster["s3"].start()
        cluster["s3"].wait_ready()
        cluster.s3.create_bucket(Bucket=BUCKET)
        for process in cluster.processes.values():
            if process.name != "s3":
                process.start()
        for process in cluster.processes.values():
            process.wait_ready()
        cluster.wait_whole()
        yield cluster


def _end(cluster: Cluster) -> None:
    """All at once, but for the store, which the others may still need."""
    others = [process for process in cluster.processes.values() if process.name != "s3"]
    for process in others:
        process.hurry()
    for process in (*others, cluster["s3"]):
        process.end()


def _assembled(folder: Path, variables: Mapping[str, str], stack: contextlib.ExitStack) -> Cluster:
    database = stack.enter_context(postgres.own_server())
    urls = {name: stack.enter_context(postgres.database(database.url)) for name in ("gateway", "jobs")}
    ports = _ports()
    s3_port = ports["s3"]
    link = Link([("127.0.0.1", s3_port)])
    stack.callback(link.close)
    (folder / "shared").mkdir(parents=True)
    keys = Keys(folder / "shared")
    key = keys.add("load", limits=LIMITS)
    doors = [
        Door(host, ports["gateway"], ports["gateway-http"], ports["gateway-admin"])
        for host in MACHINES.values()
    ]
    front = Front(folder, doors, [_of_envoy(ports, number) for number in MACHINES])
    stack.callback(front.link.close)
    common = {**os.environ, **_environment(folder, ports, urls, link), **JOBS, **variables}
    processes = [
        Process(
            "s3",
            (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)),
            os.environ,
            folder,
            lambda: answers(f"http://127.0.0.1:{s3_port}/moto-api/"),
        ),
        *(each for machine in MACHINES for each in _machine(folder, machine, common, ports)),
        *front.processes,
    ]
    client = boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{s3_port}", region_name="us-east-1", **_SECRETS
    )
    stack.callback(client.close)
    named = {process.name: process for process in processes}
    return Cluster(folder, named, ports, front, database, urls, link, client, keys, key, common)


_SECRETS = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}


def _environment(
    folder: Path, ports: Mapping[str, int], urls: Mapping[str, str], store: Link
) -> dict[str, str]:
    shared = folder / "shared"
    found = {
        "PEQUOD_GATEWAY_DATABASE_URL": urls["gateway"],
        "PEQUOD_DATABASE_URL": urls["jobs"],
        "PEQUOD_STORE": f"s3://{BUCKET}/models",
        "PEQUOD_DATASETS": f"s3://{BUCKET}/datasets",
        "PEQUOD_FINETUNE_WORK": str(shared / "work"),
        "PEQUOD_KEYS_FILE": str(shared / "keys.json"),
        "PEQUOD_KEYS_SECRET_FILE": str(shared / "secret"),
        "PEQUOD_AUDIT_FILE": str(shared / "audit.jsonl"),
        "AWS_ENDPOINT_URL": f"http://{store.address}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        **{name.upper(): value for name, value in _SECRETS.items()},
        "PEQUOD_GATEWAY_PORT": str(ports["gateway"]),
        "PEQUOD_GATEWAY_HTTP_PORT": str(ports["gateway-http"]),
        "PEQUOD_GATEWAY_ADMIN_PORT": str(ports["gateway-admin"]),
    }
    for service in SERVICES:
        prefix = f"PEQUOD_{service.name.upper()}"
        port = ports[service.name]
        found[f"{prefix}_PORT"], found[f"{prefix}_SIDE_PORT"] = str(port), str(ports[f"{service.name}-side"])
        found[f"{prefix}_BACKENDS"] = ",".join(f"{host}:{port}" for host in MACHINES.values())
    return found


def _machine(
    folder: Path, machine: int, common: Mapping[str, str], ports: Mapping[str, int]
) -> Iterator[Process]:
    """The services of one machine, then its gateway."""
    host, own = MACHINES[machine], folder / f"machine-{machine}"
    own.mkdir()
    environment = {**common, "PEQUOD_HOST": host}
    for service in SERVICES:
        url = f"http://{host}:{ports[f'{service.name}-side']}/readyz"
        command = (sys.executable, "-m", service.module)
        yield Process(f"{service.name}-{machine}", command, environment, own, _asking(url))
    environment = {**environment, "PEQUOD_DRAIN_SECONDS": f"{DRAIN_SECONDS:g}"}
    url = f"http://{host}:{ports['gateway-admin']}/readyz"
    yield Process(f"gateway-{machine}", (sys.executable, "-m", "gateway"), environment, own, _asking(url))


def _asking(url: str) -> Callable[[], bool]:
    return lambda: answers(url)


def _of_envoy(ports: Mapping[str, int], number: int) -> tuple[int, int, int]:
    name = f"envoy-{number}"
    return ports[name], ports[f"{name}-side"], ports[f"{name}-admin"]


def _ports() -> dict[str, int]:
    """Ports that are free on every address of this machine."""
    names = ["s3", "gateway", "gateway-http", "gateway-admin"]
    names += [f"envoy-{number}{what}" for number in MACHINES for what in ("", "-side", "-admin")]
    names += [name for service in SERVICES for name in (service.name, f"{service.name}-side")]
    return dict(zip(names, lasting_ports(len(names)), strict=True))
