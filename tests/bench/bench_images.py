"""Measures image generation beside its peers; run as ``python -m tests.bench.bench_images``.

Sections, chosen with ``--only``: ``network`` is a call of the shipped network, ONNX Runtime beside PyTorch
eager. ``image`` is a whole image, by the bare engine, by the service and through a running platform
(``--platform``). ``crowd`` are Poisson arrivals and overload: our dispatcher beside the same network one
request at a time and beside diffusers' loop behind a lock. ``overhead`` is what the serving loop costs beside
the network. ``gpu`` is a UNet of Stable Diffusion 1.5's size with random weights, our step batching beside
diffusers, eager and compiled; it needs CUDA.

Figures are medians over interleaved repeats, with CPU time beside wall time: on a machine with neighbours
the former says more.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from services.common.threads import available_cores, cap_threads
from tests.bench.children import HOME, Nursery
from tests.bench.images import crowd
from tests.bench.images.model import MODEL, Opened
from tests.bench.images.network import bench_network
from tests.bench.images.overhead import bench_overhead
from tests.bench.images.whole import bench_whole
from tests.bench.report import Report

SECTIONS = ("network", "image", "crowd", "overhead", "gpu")
MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    images: int
    crowd: crowd.Sizes


FULL = Sizes(5, 5, crowd.Sizes(real=60, virtual=1000, seeds=5, overload=200, repeats=9))
QUICK = Sizes(2, 1, crowd.Sizes(real=0, virtual=100, seeds=1, overload=40, repeats=2))


def parse() -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    options.add_argument("--platform", default="", help="host:port of a running platform's gateway (gRPC)")
    options.add_argument("--requests", type=int, help="of the crowd in real time; 0: none")
    options.add_argument(
        "--quick", action="store_true", help="a glance while developing; figures mean little"
    )
    return options.parse_args()


def main() -> None:
    """Run the sections."""
    options = parse()
    HOME.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that children end with us
    cap_threads(1)
    report, sizes = Report(), QUICK if options.quick else FULL
    report.say(
        f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    nursery, folder = Nursery("", "", report), MODELS / MODEL / "1"
    if "network" in options.only:
        bench_network(nursery, folder, (1, 2), sizes.rounds, report)
    if "image" in options.only:
        bench_whole([Opened(MODELS, 2), Opened(MODELS, 1)], options.platform, sizes.images, report)
    if "crowd" in options.only:
        chosen = sizes.crowd
        if options.requests is not None:
            chosen = crowd.Sizes(**{**vars(chosen), "real": options.requests})
        crowd.bench_crowd(Opened(MODELS, 1).model(), nursery, folder, 1, chosen, report)
    if "overhead" in options.only:
        bench_overhead(Opened(MODELS, 1).model(), report)
    if "gpu" in options.only:
        from tests.bench.images.gpu import bench_gpu

        bench_gpu(report)
    report.summary()


if __name__ == "__main__":
    main()
