"""The options of benchmarks that stand beside peers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def bench_parser(description: str | None, sections: Sequence[str], peers: str) -> argparse.ArgumentParser:
    """``peers`` names those there are."""
    first = (description or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=first)
    parser.add_argument("--corpus", type=Path, default=Path("var/corpus"), help="folder of UTF-8 texts")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections, metavar="SECTION")
    parser.add_argument("--peers", nargs="*", default=[], help=f"of {peers}")
    parser.add_argument("--quick", action="store_true", help="a glance while developing; figures mean little")
    parser.add_argument("--torch", default="torch==2.13.0", help="to install into the peers' environments")
    parser.add_argument("--torch-index", default="", help="package index to take torch from")
    return parser
