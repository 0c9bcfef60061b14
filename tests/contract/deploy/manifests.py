"""The manifests as kubectl renders them, and what the code says that they must agree with."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway.settings
from services.common.catalogue import SERVICES, entry
from services.common.gpu_share import GpuSettings
from services.common.rpc.server import ServerSettings
from services.common.rpc.tls import TlsSettings
from services.common.settings import variables
from services.common.threads import ThreadSettings
from services.common.tracing.settings import TracingSettings

ROOT = Path(__file__).parents[3]
K8S = ROOT / "deploy/k8s"
TOGETHER = "together"
"""What stands for an overlay of one's own: GPUs, KEDA, Envoy, a database, a bucket, Kueue and the rest."""
OVERLAYS = [*sorted(path.name for path in (K8S / "overlays").iterdir()), TOGETHER]
COMPONENTS = sorted(path.name for path in (K8S / "components").iterdir())
OTHERWISE = {"hpa-light", "hpa-heavy"}
"""Components in whose place another one is chosen for it."""
SERVICE_NAMES = tuple(service.name for service in SERVICES)
PROCESSES = ("gateway", *SERVICE_NAMES)
NAME = "app.kubernetes.io/name"

Manifest = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Every object of an overlay."""
    if overlay != TOGETHER:
        return built(K8S / "overlays" / overlay)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "k8s").symlink_to(K8S)
        mine = Path(folder) / "mine"
        mine.mkdir()
        chosen = [name for name in COMPONENTS if name not in OTHERWISE]
        (mine / "kustomization.yaml").write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "kustomize.config.k8s.io/v1beta1",
                    "kind": "Kustomization",
                    "resources": ["../k8s/base"],
                    "components": [f"../k8s/components/{name}" for name in chosen],
                }
            )
        )
        return built(mine)


def built(folder: Path) -> tuple[Manifest, ...]:
    """What ``kubectl kustomize`` makes of a folder. Skips the test where there is no kubectl."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.safe_load_all(done.stdout) if each)


def of_kind(objects: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [each for each in objects if each["kind"] in kinds]


def named(objects: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    """The one object of that kind and name. Raises StopIteration's kin where there is none."""
    found = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pods(objects: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """The pod template of each Deployment, by its name."""
    return {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(objects, "Deployment")}


def containers(template: Manifest) -> list[Manifest]:
    """Of a pod, init containers too."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def server(template: Manifest) -> Manifest:
    """The container that serves: the only one that is no init container."""
    (only,) = template["spec"]["containers"]
    return only


def environment(objects: tuple[Manifest, ...], container: Manifest) -> dict[str, str | None]:
    """Its variables; None for a value that only the cluster knows. ``env`` wins over ``envFrom``."""
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= named(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {each["name"]: each.get("value") for each in container.get("env", [])}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a selector of labels takes these."""
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", [])
    assert all(each["operator"] == "In" for each in expressions), "the only operator that is used"
    return wanted.items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def read_by(process: str) -> dict[str, Any]:
    """The default of every variable that a process reads, from its settings classes."""
    found: dict[str, Any] = {}
    for cls, about in classes_of(process):
        defaults = [field.default for field in dataclasses.fields(cls) if "env" in field.metadata]
        found |= dict(zip(variables(cls, about), defaults, strict=True))
    return found


def classes_of(process: str) -> Iterator[tuple[type, str]]:
    """Settings classes, each with what it puts into the names of its variables."""
    yield TracingSettings, process
    if process == "gateway":
        for cls in _settings_in(gateway.settings):
            per_service = cls is gateway.settings.Addresses
            yield from ((cls, name) for name in (SERVICE_NAMES if per_service else ("gateway",)))
        return
    own = _settings_in(importlib.import_module(f"services.{process}.__main__"))
    yield from ((cls, process) for cls in (ServerSettings, ThreadSettings, *own))
    if process in GpuSettings.PREFIXES:
        yield GpuSettings, process
    yield TlsSettings, "services"


def _settings_in(module: Any) -> Iterator[type]:
    """The settings classes that a module defines, or imports in order to read them."""
    for value in vars(module).values():
        is_dataclass = isinstance(value, type) and dataclasses.is_dataclass(value)
        if is_dataclass and any("env" in field.metadata for field in dataclasses.fields(value)):
            yield value


def all_variables() -> set[str]:
    """What any process reads."""
    return {name for process in PROCESSES for name in read_by(process)}


def default_ports(process: str) -> dict[str, int]:
    """Where a process listens that nobody tells otherwise, by the names that ports have in manifests."""
    if process == "gateway":
        own = read_by(process)
        names = {"grpc": "PORT", "http": "HTTP_PORT", "side": "ADMIN_PORT"}
        return {name: own[f"PEQUOD_GATEWAY_{variable}"] for name, variable in names.items()}
    return {"grpc": entry(process).port, "side": entry(process).side_port}
