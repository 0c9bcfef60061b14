"""Measures the GAN service beside its peers; run as ``python -m tests.bench.bench_gan``.

Sections, chosen with ``--only``: ``engine`` is the bare engine, ONNX Runtime beside PyTorch eager, at 64 and
32 pixels. ``service`` is the service with sixteen callers and with one, directly and through the gateway.
``trade`` is an image by the GAN beside one by peeps-diffusion. The networks have the shipped sizes and random
weights: how fast they are does not depend on what they learnt.

Figures are medians, with CPU time beside wall time: on a machine with neighbours the former says more.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.common.catalogue import SERVICES
from services.common.threads import available_cores, cap_threads, threads_for
from tests.bench.children import HOME, Nursery
from tests.bench.gan.engine import bench_engine
from tests.bench.gan.model import LARGE, SMALL, prepare
from tests.bench.gan.service import bench_service
from tests.bench.gan.trade import bench_trade
from tests.bench.report import Report

MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of each round of the crowd of callers."""
    calls: int
    """Of a caller alone."""
    images: int


FULL = Sizes(rounds=9, seconds=2, calls=300, images=9)
QUICK = Sizes(rounds=2, seconds=1, calls=20, images=1)


def _engine(sizes: Sizes, report: Report) -> None:
    bench_engine(Nursery("", "", report), (LARGE, SMALL), (2, 1), sizes.rounds, report)


def _service(sizes: Sizes, report: Report) -> None:
    bench_service(sizes.rounds, sizes.seconds, sizes.calls, report)


def _trade(sizes: Sizes, report: Report) -> None:
    bench_trade(MODELS, threads_for(len(SERVICES)), sizes.images, report)


SECTIONS: dict[str, Callable[[Sizes, Report], None]] = {
    "engine": _engine,
    "service": _service,
    "trade": _trade,
}
"""A section is one function and its row here."""


def parse() -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    options.add_argument(
        "--quick", action="store_true", help="a glance while developing; figures mean little"
    )
    return options.parse_args()


def main() -> None:
    """Run the sections."""
    options = parse()
    HOME.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that children end with us
    cap_threads(threads_for(len(SERVICES)))
    report, sizes = Report(), QUICK if options.quick else FULL
    report.say(
        f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    prepare()
    for name in options.only:
        SECTIONS[name](sizes, report)
    report.summary()


if __name__ == "__main__":
    main()
