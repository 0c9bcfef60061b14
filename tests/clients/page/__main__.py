"""Makes one visit: ``python -m tests.clients.page VISIT URL``."""

from __future__ import annotations

import importlib
import sys

from tests.clients.page import VISITS


def main() -> None:
    """Run the visit that the first argument names."""
    name, url = sys.argv[1:]
    assert name in VISITS
    module = importlib.import_module(f"tests.clients.page.{name}")
    getattr(module, name)(url)


if __name__ == "__main__":
    main()
