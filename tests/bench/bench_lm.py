"""Measures the language-model sampler beside its peers; run as ``python -m tests.bench.bench_lm``.

Sections, chosen with ``--only``: ``throughput`` is our engine, bare and as a service, beside CTranslate2,
Transformers (``generate`` and continuous batching) and llama.cpp, on the same random weights with the same
number of threads and the same requests. ``exactness`` compares tokens. ``first`` is the time to the first
token after a known beginning, ``arrival`` what a long prompt does to running streams, ``perplexity`` what
8 bits cost a trained model. ``gpu`` is a model of 1.1 G weights on a GPU, our engine beside Transformers.

Every peer is a process of its own in an environment of its own (``var/bench/``, made at first use). All are
warm at once, one works at a time, rounds are interleaved; figures are medians over the rounds. Everyone
takes the likeliest token and goes past the end of text, so everyone writes the same number of tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.threads import available_cores, cap_threads
from tests.bench.children import HOME, Child, Nursery, Peer, Worker, rounds
from tests.bench.lm import latency
from tests.bench.lm.perplexity import bench_perplexity
from tests.bench.lm.service import Service
from tests.bench.lm.shapes import SHAPES, Shape
from tests.bench.lm.workload import Workload, workload
from tests.bench.options import bench_parser
from tests.bench.report import Report

SECTIONS = ("throughput", "exactness", "first", "arrival", "perplexity", "gpu")
STORYTELLER = Path(__file__).parents[2] / "models/storyteller/1"

INT8 = Peer("ours, int8", "lm_ours.py", ("int8",))
FP32 = Peer("ours, fp32", "lm_ours.py", ("fp32",))
SERVICE = "ours, int8, GenerateStream"
UNPACED = f"{SERVICE}, a message a token"
_TRANSFORMERS = ("transformers", "accelerate", "psutil")
CTRANSLATE = Peer(
    "CTranslate2, int8",
    "lm_ctranslate.py",
    packages=("ctranslate2", "transformers"),
    environment="ctranslate2",
)
GENERATE = Peer(
    "Transformers, generate", "lm_transformers.py", ("generate",), _TRANSFORMERS, environment="transformers"
)
BATCHING = Peer(
    "Transformers, continuous batching",
    "lm_transformers.py",
    ("batching",),
    _TRANSFORMERS,
    environment="transformers",
)
LLAMA_CPP = Peer(
    "llama.cpp, Q8_0",
    "lm_llama.py",
    packages=("llama-cpp-python", "gguf", "safetensors"),
    torch=False,
    from_source=("llama-cpp-python",),
    environment="llama-cpp-python",
)
PEERS = (CTRANSLATE, LLAMA_CPP, GENERATE, BATCHING)


@dataclass(frozen=True)
class Sizes:
    """How much is measured. ``groups``: of requests a round, by how many requests come at once."""

    rounds: int
    groups: dict[int, int]
    scale: float
    compared: int
    latency: latency.Sizes
    windows: int


FULL = Sizes(3, {1: 4, 8: 1, 32: 1}, 1.0, 16, latency.Sizes(firsts=9, written=96, rounds=3), windows=64)
QUICK = Sizes(1, {1: 1, 8: 1, 32: 1}, 0.2, 8, latency.Sizes(firsts=3, written=48, rounds=1), windows=8)


class Bench:
    """What the sections share."""

    def __init__(self, options: argparse.Namespace, sizes: Sizes) -> None:
        self.options = options
        self.sizes = sizes
        self.report = Report()
        self.nursery = Nursery(options.torch, options.torch_index, self.report)
        self.shapes = [SHAPES[name] for name in options.shapes]

    def throughput(self, shape: Shape) -> None:
        """Tokens a second of everyone, at one request and at several."""
        peers = [INT8, FP32, *self._chosen()]
        folder, threads = self._made(shape), self.options.threads
        with (
            self.nursery.children(peers, folder, threads) as children,
            self._service(shape) as service,
            self._unpaced(shape) as unpaced,
        ):
            for child in children:
                self.report.say(f"- {child.name}: {child.versions}")
            workers = _workers(children, service, unpaced)
            for concurrency, groups in self.sizes.groups.items():
                rows = self._workloads(shape, concurrency, groups)
                for name, each in rows.items():
                    for worker in workers:
                        worker.keep(name, each.groups)
                self._show(shape, list(rows.values()), rounds(workers, list(rows)))

    def exactness(self, shape: Shape) -> None:
        """Whether tokens are the same alone, in company, by the service; and those of Transformers."""
        requests = workload(shape.vocabulary, self.sizes.compared, 1, scale=self.sizes.scale).groups[0]
        alone = [[request] for request in requests]
        peers = [INT8, FP32, *([GENERATE] if GENERATE in self._chosen() else [])]
        folder, threads = self._made(shape), self.options.threads
        with self.nursery.children(peers, folder, threads) as children, self._service(shape) as service:
            made = {child.name: child.make(alone) for child in children}
            company = {child.name: child.make([requests]) for child in children}
            company[SERVICE] = list(map(np.array, service.make([requests])))
        pairs = [(INT8.name, "in company", made[INT8.name], company[INT8.name])]
        pairs.append((FP32.name, "in company", made[FP32.name], company[FP32.name]))
        pairs.append((SERVICE, "in company", made[INT8.name], company[SERVICE]))
        if GENERATE.name in made:
            pairs.append((FP32.name, "as Transformers alone", made[GENERATE.name], company[FP32.name]))
        for name, what, left, right in pairs:
            same = sum(map(np.array_equal, left, right))
            self.report.least(
                f"{shape.title}: {name}, of {len(left)} requests the same tokens {what}", same, len(left)
            )

    def waiting(self, shape: Shape, sections: Sequence[str]) -> None:
        """The sections about single tokens, on a service that sends each of them at once."""
        with self._unpaced(shape) as service:
            if "first" in sections:
                latency.bench_first_token(service, shape, self.sizes.latency, self.report)
            if "arrival" in sections:
                latency.bench_arrival(service, shape, self.sizes.latency, self.report)

    def _made(self, shape: Shape) -> Path:
        return shape.made(HOME / "lm")

    @contextlib.contextmanager
    def _service(self, shape: Shape) -> Iterator[Service]:
        with Service(SERVICE, self._made(shape), self.options.threads) as service:
            yield service

    @contextlib.contextmanager
    def _unpaced(self, shape: Shape) -> Iterator[Service]:
        with Service(UNPACED, self._made(shape), self.options.threads, pace_ms=0) as service:
            yield service

    def _workloads(self, shape: Shape, concurrency: int, groups: int) -> dict[str, Workload]:
        """A workload for each round: equal lengths, other prompts."""
        return {
            f"{concurrency}/{seed}": workload(shape.vocabulary, concurrency, seed, groups, self.sizes.scale)
            for seed in range(self.sizes.rounds)
        }

    def _chosen(self) -> list[Peer]:
        wanted = self.options.peers
        names = {peer: f"{peer.script} {' '.join(peer.arguments)}" for peer in PEERS}
        return [peer for peer in PEERS if not wanted or any(name in names[peer] for name in wanted)]

    def _show(self, shape: Shape, works: Sequence[Workload], measured: dict[str, np.ndarray]) -> None:
        work = works[0]
        speeds = {name: work.tokens / np.median(times, axis=0) for name, times in measured.items()}
        ours, best = speeds[INT8.name], _best(speeds)
        rows = [
            (name, *(f"{each:,.0f}" for each in speed), *(f"{each:.2f}" for each in ours / speed))
            for name, speed in speeds.items()
        ]
        size = f"{len(work.groups)} x " * (len(work.groups) > 1) + f"{work.concurrency} at once"
        self.report.table(
            f"{shape.title}, {size}: {work.prompt_tokens} tokens to read and {work.tokens} to write, "
            f"{self.options.threads} thread(s), medians of {len(works)} rounds",
            ("", "tokens/s", "tokens a CPU second", "ours, int8 / this", "the same a CPU second"),
            rows,
        )
        title = f"{shape.title}, {work.concurrency} at once"
        for name in (INT8.name, SERVICE):
            if best is not None:
                wall, cpu = speeds[name] / best
                self.report.least(f"{title}: {name} / best peer ({cpu:.2f} a CPU second)", wall, 1.0)
        if work.concurrency == max(self.sizes.groups):
            self.report.least(f"{title}: {SERVICE} / bare engine", float(speeds[SERVICE][0] / ours[0]), 0.85)


def _workers(children: Sequence[Child], *services: Service) -> list[Worker]:
    """The services right after the bare engine, so that all find the machine the same."""
    first, *others = children
    return [first, *services, *others]


def _best(speeds: dict[str, np.ndarray]) -> np.ndarray | None:
    """The best of the peers in each column; None without peers."""
    peers = [speed for name, speed in speeds.items() if not name.startswith("ours")]
    return np.max(peers, axis=0) if peers else None


def parse() -> argparse.Namespace:
    """The command line."""
    options = bench_parser(__doc__, SECTIONS, "ctranslate, generate, batching, llama")
    options.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--model", type=Path, default=STORYTELLER, help="a trained model, for perplexity")
    return options.parse_args()


def main() -> None:
    """Run the sections."""
    options = parse()
    HOME.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that children end with us
    cap_threads(options.threads)
    bench = Bench(options, QUICK if options.quick else FULL)
    bench.report.say(
        f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}\n"
    )
    for shape in bench.shapes:
        if "throughput" in options.only:
            bench.throughput(shape)
        if "exactness" in options.only:
            bench.exactness(shape)
        if {"first", "arrival"} & set(options.only):
            bench.waiting(shape, options.only)
    if "perplexity" in options.only:
        bench_perplexity(options.model, options.corpus, bench.sizes.windows, options.threads, bench.report)
    if "gpu" in options.only:
        from tests.bench.lm.gpu import bench_gpu

        bench_gpu(bench.nursery, bench.sizes.rounds, bench.report)
    bench.report.summary()


if __name__ == "__main__":
    main()
