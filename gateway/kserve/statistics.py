"""What models did, as Triton's statistics have it; only what passed this gateway counts."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

from pequod.common.v1 import Usage

_NS_IN_MS = 1_000_000


@dataclass
class Spent:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Once more."""
        self.count += 1
        self.ns += ns


class Times:
    """A stopwatch of one inference: it arrives, its inputs are read, its model answers, it ends."""

    def __init__(self) -> None:
        self._began = time.perf_counter_ns()
        self._answered = self._began
        self.input_ns = 0

    def inputs_read(self) -> None:
        """The model is asked from now on."""
        self.input_ns = self.total_ns

    def answered(self) -> None:
        """The model has."""
        self._answered = time.perf_counter_ns()

    @property
    def output_ns(self) -> int:
        """Since the model has answered."""
        return time.perf_counter_ns() - self._answered

    @property
    def total_ns(self) -> int:
        """So far."""
        return time.perf_counter_ns() - self._began


@dataclass
class Counts:
    """Of one version of a model. An execution is a call of its service, whose batch others may share."""

    last_inference_ms: int = 0
    inferences: int = 0
    executions: int = 0
    success: Spent = field(default_factory=Spent)
    fail: Spent = field(default_factory=Spent)
    queue: Spent = field(default_factory=Spent)
    compute_input: Spent = field(default_factory=Spent)
    compute_infer: Spent = field(default_factory=Spent)
    compute_output: Spent = field(default_factory=Spent)


class Statistics:
    """Counts by name and version."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, str], Counts] = defaultdict(Counts)

    def of(self, name: str, version: str) -> Counts:
        """What is known of a version; zeros for one that was never asked."""
        return self._counts.get((name, version)) or Counts()

    def succeeded(self, name: str, version: str, rows: int, usage: Usage, times: Times) -> None:
        """An inference of ``rows`` ended well."""
        counts = self._counts[name, version]
        counts.last_inference_ms = int(time.time() * 1000)
        counts.inferences += rows
        counts.executions += 1
        counts.success.add(times.total_ns)
        counts.queue.add(int(usage.queue_ms * _NS_IN_MS))
        counts.compute_infer.add(int(usage.compute_ms * _NS_IN_MS))
        counts.compute_input.add(times.input_ns)
        counts.compute_output.add(times.output_ns)

    def failed(self, name: str, version: str, times: Times) -> None:
        """One ended otherwise: refused, broken off, or left by its caller."""
        self._counts[name, version].fail.add(times.total_ns)
