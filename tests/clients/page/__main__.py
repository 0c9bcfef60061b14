"""Makes one visit: ``python -m tests.clients.page VISIT URL [KEY ...]``."""

from __future__ import annotations

import importlib
import sys

from tests.clients.page import KEYED, LONG_VISITS, VISITS


def main(name: str, *arguments: str) -> None:
    """Run the visit of that name."""
    assert name in {*VISITS, *LONG_VISITS, KEYED}
    module = importlib.import_module(f"tests.clients.page.{name}")
    getattr(module, name)(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
