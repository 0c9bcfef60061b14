"""Recipes in processes that are ended by SIGKILL at a chosen moment."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import reduce


def killed(module: str, arguments: Sequence[str], place: str, count: int) -> None:
    """Run a recipe until ``place``, a ``module:function``, is called for the ``count``-th time.

    Raises AssertionError when the recipe ends before that.
    """
    command = [sys.executable, "-m", "tests.unit.recipes.killing", place, str(count), module, *arguments]
    done = subprocess.run(
        command, capture_output=True, check=False, timeout=100, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    said = done.stderr.decode(errors="replace")
    assert done.returncode == -signal.SIGKILL, f"{place} was not called {count} times: {said[-2000:]}"


def main(place: str, count: str, module: str, *arguments: str) -> None:
    home, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = reduce(getattr, owners, importlib.import_module(home))
    function, calls = getattr(owner, name), [0]

    def fatal(*given, **named):
        calls[0] += 1
        if calls[0] == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)

    recipe = importlib.import_module(module)
    setattr(owner, name, fatal)
    recipe.main(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
