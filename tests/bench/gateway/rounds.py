"""Interleaved rounds of all cases with all subjects, and what they come to."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tests.bench.gateway.load import Load, Subject

FOREIGN_SHARE = 0.15


@dataclass(frozen=True)
class Round:
    """One measurement: calls or messages a second, milliseconds, CPU microseconds of the subject each."""

    rate: float
    p50: float
    p99: float
    cpu: float


def cpu_seconds(*processes: psutil.Process) -> float:
    """User and system time of processes and their children so far."""
    family = [each for process in processes for each in (process, *process.children(recursive=True))]
    times = [each.cpu_times() for each in family]
    return float(sum(each.user + each.system for each in times))


def busy_seconds() -> float:
    """Time that all cores together have been busy."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


async def measure(
    load: Load, callers: int, seconds: float, subject: Subject, ours: list[psutil.Process]
) -> Round | None:
    """One round; None when other programs took too much of the machine meanwhile."""
    before = busy_seconds() - sum(map(cpu_seconds, ours))
    began, cpu = time.perf_counter(), cpu_seconds(subject.process, *subject.also)
    count, took, times = await load(subject, callers, seconds)
    cpu = cpu_seconds(subject.process, *subject.also) - cpu
    foreign = busy_seconds() - sum(map(cpu_seconds, ours)) - before
    if foreign > FOREIGN_SHARE * (time.perf_counter() - began):
        return None
    times.sort()
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Round(count / took, 1e3 * p50, 1e3 * p99, 1e6 * cpu / count)


Cases = Sequence[tuple[str, Load, int]]
Results = dict[tuple[str, str], list[Round]]


async def run_rounds(
    subjects: list[Subject], cases: Cases, ours: list[psutil.Process], options: argparse.Namespace
) -> Results:
    """Interleaved rounds, until each case has as many as asked for or the time is over."""
    results: Results = {(case, s.name): [] for case, _, _ in cases for s in subjects}
    end = time.monotonic() + options.limit
    while time.monotonic() < end and min(map(len, results.values())) < options.rounds:
        for case, load, callers in cases:
            for subject in subjects:
                if len(results[case, subject.name]) < options.rounds:
                    found = await measure(load, callers, options.seconds, subject, ours)
                    results[case, subject.name] += [found] if found else []
    return results


def median(rounds: list[Round], field: str) -> float:
    """The median of one field over the rounds; NaN without rounds."""
    return statistics.median(getattr(r, field) for r in rounds) if rounds else math.nan


def report(results: Results, pairs: Sequence[tuple[str, str]]) -> None:
    """Print a line for each case and subject, and the ratios of ``pairs``."""
    write = sys.stdout.write
    write(f"{'case':<12}{'subject':<14}{'rounds':>7}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}\n")
    for (case, name), rounds in results.items():
        rate, p50, p99, cpu = (median(rounds, field) for field in ("rate", "p50", "p99", "cpu"))
        write(f"{case:<12}{name:<14}{len(rounds):>7}{rate:>9.0f}{p50:>9.2f}{p99:>9.2f}{cpu:>9.0f}\n")
    write("\n")
    for case in dict.fromkeys(case for case, _ in results):
        for subject, other in pairs:
            first, second = results[case, subject], results[case, other]
            rate = median(first, "rate") / median(second, "rate")
            cpu = median(first, "cpu") / median(second, "cpu")
            added = median(first, "p50") - median(second, "p50")
            pair = f"{subject}/{other}"
            write(f"{case:<12}{pair:<22}{rate:.2f} of the rate   CPU {cpu:.2f}x   added p50 {added:.2f} ms\n")
