"""The queries of rules, alerts, dashboards and scalers, and the series that they may ask for."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry

from services.common.disks import DiskCollector
from services.common.gpus import GpuCollector, Gpus
from services.common.metrics import Metrics
from services.common.rpc.certificates import CertificateCollector

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))

_SERIES = re.compile(r"\b((?:pequod|process)_[a-z_]+)(?:\{([^}]*)\})?")
_RECORDED = re.compile(r"\bpequod:[a-z_]+:[a-z0-9_]+")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
OF_PROMETHEUS = {"job", "instance", "namespace", "pod"}
"""Labels that series get when they are scraped."""


def rules() -> Iterator[dict]:
    """Every recording rule and alert."""
    for name in ("recording.yaml", "alerts.yaml"):
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]:
            yield from group["rules"]


def alerts() -> list[dict]:
    return [rule for rule in rules() if "alert" in rule]


def panel_queries(dashboard: Path) -> Iterator[tuple[str, str]]:
    """Title and PromQL of every query of a dashboard."""
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def scaler_queries() -> Iterator[str]:
    """What the ScaledObjects ask Prometheus."""
    for each in yaml.safe_load_all((ROOT / "deploy/k8s/components/keda/services.yaml").read_text()):
        for trigger in each["spec"]["triggers"]:
            yield trigger["metadata"]["query"]


def every_query() -> list[str]:
    panels = [expr for file in DASHBOARDS for _, expr in panel_queries(file)]
    return [*(rule["expr"] for rule in rules()), *panels, *scaler_queries()]


def asked(query: str) -> dict[str, set[str]]:
    """The exported series that a query names, each with the labels it is chosen by."""
    found: dict[str, set[str]] = {}
    for name, labels in _SERIES.findall(query):
        found.setdefault(name, set()).update(_LABEL.findall(labels))
    return found


def recorded(query: str) -> set[str]:
    """The recorded series that a query names."""
    return set(_RECORDED.findall(query))


def registry() -> CollectorRegistry:
    """What a service's process is scraped for."""
    metrics = Metrics("any")
    for collector in (GpuCollector(Gpus()), DiskCollector({}), CertificateCollector(())):
        metrics.registry.register(collector)
    return metrics.registry


@functools.cache
def exported() -> dict[str, set[str]]:
    """The series that a process exports, each with its labels, from the files that declare them."""
    found: dict[str, set[str]] = {}
    for collector in registry()._collector_to_names:
        labels = set(getattr(collector, "_labelnames", ()))
        for described in collector.describe() if hasattr(collector, "_labelnames") else collector.collect():
            for name in _samples(described.name, described.type):
                found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def _samples(name: str, kind: str) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return [f"{name}{ending}" for ending in endings.get(kind, [""])]
