"""The GAN service's engine, no server around it: gan_ours.py MODEL THREADS ROWS.

A group is one call of the engine, its items are seeds; what is made are bytes of pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import onnxruntime
from wire import serve

from services.common.threads import cap_threads
from services.gan.planning import Setting, seeded
from services.gan.requests import usual
from tests.bench.gan.model import opened


def main() -> None:
    """Serve the calls."""
    name, threads, rows = sys.argv[1].rpartition("/")[2], int(sys.argv[2]), int(sys.argv[3])
    cap_threads(threads)
    model = opened(name, threads, rows)
    setting = Setting.of(model.traits, usual())

    def work(seeds: list[Any]) -> Sequence[Any]:
        return [each.picture for each in model.draw([setting.single(seeded(seed)) for seed in seeds])]

    serve(work, f"onnxruntime {onnxruntime.__version__}", [1, 2])


if __name__ == "__main__":
    main()
