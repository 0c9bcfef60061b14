"""Detectors and counters over many runs of the ring; run as ``python -m tests.bench.gan.pitfalls``.

Each pitfall is caused with counters and without, and a healthy training is watched as well: how often the
right detector fired, how often one fired for nothing, and how many of the eight modes are covered at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from services.finetune.recipes import gan_ring
from services.finetune.recipes.gan.pitfalls.detectors import COLLAPSE, VANISHING
from services.finetune.recipes.gan.pitfalls.events import What
from services.finetune.recipes.gan.pitfalls.watch import OFF, ON
from services.finetune.recipes.gan.ring import MODES
from tests.bench.report import Report

SEEDS, QUICK_SEEDS = 20, 3
MOST_WITHOUT = 4
CAUSES = {"healthy": "", "vanishing": VANISHING, "collapse": COLLAPSE}
"""Presets and the pitfall that each causes."""
GROUPS = (("healthy", ON), ("vanishing", ON), ("vanishing", OFF), ("collapse", ON), ("collapse", OFF))
"""Preset and counters."""


@dataclass(frozen=True)
class Case:
    """A run."""

    preset: str
    counters: str
    seed: int


@dataclass(frozen=True)
class Found:
    """What it came to."""

    fired: frozenset[str]
    """Pitfalls that there was an alarm of."""
    first: int
    """Step of the first alarm; -1 where there was none."""
    actions: int
    recovered: bool
    """Whether the last word on the pitfall that was caused is that it is over."""
    covered: int


def ran(case: Case) -> Found:
    """One run of the ring."""
    options = replace(gan_ring.PRESETS[case.preset], counters=case.counters, seed=case.seed)
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stderr(io.StringIO()):
        outcome = gan_ring.train(Path(work), options)
    alarms = [each for each in outcome.events if each.what is What.ALARM]
    own = [each for each in outcome.events if each.pitfall == CAUSES[case.preset]]
    return Found(
        fired=frozenset(each.pitfall for each in alarms),
        first=alarms[0].step if alarms else -1,
        actions=sum(each.what is What.ACTION for each in outcome.events),
        recovered=bool(own) and own[-1].what is What.RECOVERED,
        covered=outcome.covered,
    )


def cases(seeds: int) -> Iterator[Case]:
    """Every pitfall with counters and without, over so many seeds; a healthy run is the same either way."""
    for preset, counters in GROUPS:
        yield from (Case(preset, counters, seed) for seed in range(1, seeds + 1))


def bench_pitfalls(seeds: int, processes: int, report: Report) -> None:
    """The table, and what of it there is a target for."""
    every = list(cases(seeds))
    with ProcessPoolExecutor(processes) as pool:
        found = dict(zip(every, pool.map(ran, every), strict=True))
    groups = {
        group: [found[case] for case in every if (case.preset, case.counters) == group] for group in GROUPS
    }
    report.table(
        f"Eight Gaussians in a ring, {seeds} seeds, modes covered of {MODES}",
        (
            "training",
            "counters",
            "right alarm",
            "other alarm",
            "step",
            "actions",
            "over",
            "modes, mean",
            "range",
        ),
        [row(preset, counters, each) for (preset, counters), each in groups.items()],
    )
    for (preset, counters), runs in groups.items():
        _targets(preset, counters, runs, report)


def row(preset: str, counters: str, runs: Sequence[Found]) -> tuple[object, ...]:
    """Of the table."""
    cause, n = CAUSES[preset], len(runs)
    steps = [each.first for each in runs if each.first >= 0]
    modes = [each.covered for each in runs]
    return (
        preset,
        counters,
        f"{sum(cause in each.fired for each in runs)} of {n}" if cause else "",
        f"{sum(bool(each.fired - {cause}) for each in runs)} of {n}",
        f"{median(steps):g}" if steps else "",
        f"{sum(each.actions for each in runs) / n:.1f}",
        f"{sum(each.recovered for each in runs)} of {n}" if cause else "",
        f"{sum(modes) / n:.1f}",
        f"{min(modes)}..{max(modes)}",
    )


def _targets(preset: str, counters: str, runs: Sequence[Found], report: Report) -> None:
    cause, modes = CAUSES[preset], [each.covered for each in runs]
    if not cause:
        report.most(f"{preset}, counters {counters}: false alarms", sum(bool(each.fired) for each in runs), 0)
    else:
        fired = sum(cause in each.fired for each in runs) / len(runs)
        report.least(f"{preset}, counters {counters}: share of runs that the alarm was for", fired, 1.0)
    if cause and counters == OFF:
        report.most(f"{preset} without counters: modes covered, most", max(modes), MOST_WITHOUT)
    else:
        report.least(f"{preset}, counters {counters}: modes covered, least", min(modes), MODES)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each kind (%(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds")
    chosen = parser.parse_args(arguments)
    report = Report()
    bench_pitfalls(QUICK_SEEDS if chosen.quick else chosen.seeds, chosen.processes, report)
    report.summary()


if __name__ == "__main__":
    main()
