"""Fuzzes targets one after the other: ``python -m tests.fuzz [TARGET...] --seconds 60``.

For each: runs, runs a second, coverage (edges) as it grew, inputs that were worth keeping, findings. The work
is in ``var/fuzz/TARGET``: the corpus, the curve as CSV, libFuzzer's own words, and inputs that are findings.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.report import Report
from tests.fuzz import kept
from tests.fuzz.known import names, root, target

TIMEOUT, MEMORY = 10, 2048
"""Seconds of one input, MiB of the process: more is a finding."""
LONGEST = 4096
_LINE = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/\S+.*?exec/s: (\d+) rss: (\d+)Mb")
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second")


@dataclass
class Figures:
    """What came of one target."""

    runs: int = 0
    seconds: int = 0
    curve: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    """(runs, edges, features, inputs kept, MiB) as they grew."""
    findings: int = 0
    is_done: bool = False
    """Whether it came to the end of its time."""

    def row(self, name: str) -> list[object]:
        at = [self._edges(share) for share in (0.0, 0.1, 0.5, 1.0)]
        inputs = self.curve[-1][3] if self.curve else 0
        rate = self.runs // max(self.seconds, 1)
        return [name, self.seconds, f"{self.runs:,}", f"{rate:,}", *at, inputs, self.findings]

    def _edges(self, share: float) -> int:
        """Edges when ``share`` of all runs were done."""
        before = [edges for runs, edges, *_ in self.curve if runs <= max(share * self.runs, self.curve[0][0])]
        return before[-1] if before else 0


def main() -> int:
    asked = _arguments()
    report = Report()
    figures: dict[str, Figures] = {}
    for name in asked.targets or names():
        if asked.merge:
            report.say(f"{name}: {_merge(name)} inputs kept")
            continue
        figures[name] = _fuzz(name, asked.seconds)
        cut = "" if figures[name].is_done or figures[name].findings else "; it was ended before its time"
        report.say(f"{name}: {figures[name].runs:,} runs, {figures[name].findings} findings{cut}")
    header = (
        "target",
        "s",
        "runs",
        "runs/s",
        "edges at once",
        "at 10 %",
        "at 50 %",
        "at the end",
        "inputs",
        "findings",
    )
    if figures:
        report.table("Fuzzing", header, [found.row(name) for name, found in figures.items()])
    return 0 if all(each.is_done and not each.findings for each in figures.values()) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(names()))
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--merge", action="store_true", help="write what is worth keeping to the kept corpus")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(names()):
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    return asked


def _fuzz(name: str, seconds: int) -> Figures:
    folder = root() / "var/fuzz" / name
    findings = folder / "findings"
    shutil.rmtree(findings, ignore_errors=True)
    for each in (findings, folder / "corpus"):
        each.mkdir(parents=True, exist_ok=True)
    arguments = [
        *(
            f"-max_total_time={seconds}",
            f"-timeout={TIMEOUT}",
            f"-rss_limit_mb={MEMORY}",
            f"-max_len={LONGEST}",
        ),
        *(f"-artifact_prefix={findings}/", f"-dict={_words(name, folder)}", "-len_control=0"),
        *(str(folder / "corpus"), str(_given(name, folder))),
    ]
    told = _run(name, folder, arguments)
    (folder / "said.txt").write_text(told)
    figures = _read(told)
    figures.findings = len(list(findings.iterdir()))
    with (folder / "curve.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("runs", "edges", "features", "inputs", "mib"), *figures.curve])
    return figures


def _merge(name: str) -> int:
    """Of all inputs those that add coverage, by libFuzzer; how many are kept."""
    folder = root() / "var/fuzz" / name
    merged = folder / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    (folder / "corpus").mkdir(exist_ok=True)
    limits = (f"-timeout={TIMEOUT}", f"-rss_limit_mb={MEMORY}", f"-max_len={LONGEST}")
    _run(name, folder, ["-merge=1", *limits, str(merged), str(folder / "corpus"), str(_given(name, folder))])
    return kept.keep(name, (each.read_bytes() for each in merged.iterdir()))


def _run(name: str, folder: Path, arguments: list[str]) -> str:
    """What the child said. libFuzzer ends it with another code than 0 after a finding."""
    program = folder / "run"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz.child {name} "$0" "$@"\n')
    program.chmod(0o755)
    where = os.pathsep.join((str(root()), str(root() / "protos")))
    environ = {**os.environ, "PYTHONPATH": where, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [program, *arguments],
        cwd=root(),
        env=environ,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout + done.stderr


def _given(name: str, folder: Path) -> Path:
    """A folder of the target's seeds and of what is kept."""
    seeds = folder / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir()
    for place, data in enumerate((*target(name).seeds(), *kept.inputs(name))):
        (seeds / f"{place:04d}").write_bytes(data)
    return seeds


def _words(name: str, folder: Path) -> Path:
    """The target's words as libFuzzer reads them."""
    file = folder / "words.dict"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in target(name).WORDS)
    file.write_text("".join(f'"{each}"\n' for each in escaped))
    return file


def _read(told: str) -> Figures:
    figures = Figures()
    for line in told.splitlines():
        if found := _LINE.match(line):
            runs, edges, features, inputs, _, memory = (int(each) for each in found.group(1, 3, 4, 5, 6, 7))
            figures.curve.append((runs, edges, features, inputs, memory))
            figures.runs = runs
        elif done := _DONE.match(line):
            figures.runs, figures.seconds, figures.is_done = int(done[1]), int(done[2]), True
    return figures


if __name__ == "__main__":
    sys.exit(main())
