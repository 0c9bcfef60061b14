"""What the dashboards show: a dashboard is rows of panels, a panel is a title, a unit and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.catalogue import SERVICES

RATE = "$__rate_interval"
FAULTS = "INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE"


@dataclass(frozen=True)
class Panel:
    """``queries`` are pairs of PromQL and legend; ``unit`` is one of Grafana's."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    help: str = ""
    is_number: bool = False
    """One large number in place of curves."""


@dataclass(frozen=True)
class Dashboard:
    """``name``: of its file, and where links to it lead."""

    name: str
    title: str
    rows: tuple[tuple[str, Sequence[Panel]], ...]


def quantiles(metric: str, where: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """Median, 95th and 99th percentile of a histogram."""
    labels = f"{by}, le" if by else "le"
    shown = f"{{{{{by}}}}} " if by else ""
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{where}[{RATE}])))",
            f"{shown}{name}",
        )
        for q, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    )


def per_second(metric: str, where: str, by: str) -> tuple[tuple[str, str], ...]:
    """A counter's rate, a curve for each value of a label."""
    return ((f"sum by ({by}) (rate({metric}{where}[{RATE}]))", f"{{{{{by}}}}}"),)


def mean(metric: str, where: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    """A histogram's mean."""
    total = f"sum by ({by}) (rate({metric}_sum{where}[{RATE}]))"
    return ((f"{total} / sum by ({by}) (rate({metric}_count{where}[{RATE}]))", legend),)


def calls(name: str) -> tuple[str, list[Panel]]:
    """The calls that a process answered."""
    where = f'{{service="{name}"}}'
    faults = f'{{service="{name}",code=~"{FAULTS}"}}'
    share = (
        f"(sum(rate(pequod_requests_total{faults}[{RATE}])) or vector(0))"
        f" / sum(rate(pequod_requests_total{where}[{RATE}]))"
    )
    return "Calls", [
        Panel("Calls", "reqps", per_second("pequod_requests_total", where, "method")),
        Panel("How they end", "reqps", per_second("pequod_requests_total", where, "code")),
        Panel("Failed through us", "percentunit", ((share, "share"),), f"Calls that ended with {FAULTS}."),
        Panel("Time a call", "s", quantiles("pequod_request_seconds", where)),
    ]


def queue(name: str) -> tuple[str, list[Panel]]:
    """What waits in a service, and what is worked on together."""
    where = f'{{service="{name}"}}'
    return "Queue", [
        Panel("Waiting now", "short", ((f"sum by (instance) (pequod_queue_depth{where})", "{{instance}}"),)),
        Panel("Time waited", "s", quantiles("pequod_queue_seconds", where)),
        Panel("Rows that share a step, mean", "short", mean("pequod_batch_rows", where, "service", "rows")),
        Panel(
            "Left the queue unserved",
            "reqps",
            (
                (
                    f"sum by (reason) (rate(pequod_queue_dropped_total{where}[{RATE}])) or vector(0)",
                    "{{reason}}",
                ),
            ),
        ),
    ]


def models(name: str) -> tuple[str, list[Panel]]:
    """The models of a service: what they cost."""
    where = f'{{job="{name}"}}'
    memory = f"sum by (model, version) (pequod_model_memory_bytes{where})"
    loads = f"sum by (model, outcome) (pequod_model_loads_total{where})"
    return "Models", [
        Panel("Time of a step", "s", quantiles("pequod_compute_seconds", where, "model")),
        Panel(
            "Busy",
            "percentunit",
            ((f"sum by (model) (rate(pequod_compute_seconds_sum{where}[{RATE}]))", "{{model}}"),),
            "Seconds of steps in a second, over all replicas.",
        ),
        Panel("Memory", "bytes", ((memory, "{{model}}:{{version}}"),)),
        Panel("Loads since the start", "short", ((loads, "{{model}} {{outcome}}"),)),
    ]


def process(name: str) -> tuple[str, list[Panel]]:
    """What the operating system says of a process."""
    where = f'{{job="{name}"}}'
    files = f"process_open_fds{where} / process_max_fds{where}"
    uptime = f"time() - process_start_time_seconds{where}"
    return "Process", [
        Panel(
            "CPU", "short", ((f"rate(process_cpu_seconds_total{where}[{RATE}])", "{{instance}}"),), "Cores."
        ),
        Panel("Memory", "bytes", ((f"process_resident_memory_bytes{where}", "{{instance}}"),)),
        Panel("File descriptors in use", "percentunit", ((files, "{{instance}}"),)),
        Panel("Running for", "s", ((uptime, "{{instance}}"),)),
    ]


def of_service(name: str, *own: tuple[str, Sequence[Panel]]) -> Dashboard:
    """The dashboard that every service of models has, with what is its own after its calls."""
    rows = (calls(name), *own, queue(name), models(name), process(name))
    return Dashboard(name, f"Pequod / {name}", rows)


PROCESSES = "|".join(("gateway", *(service.name for service in SERVICES)))
