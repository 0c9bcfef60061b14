"""The same generator in PyTorch: gan_torch.py MODEL THREADS.

A group is one call, its items are seeds; random numbers are torch's, and bytes of pixels are made as ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from wire import serve

from services.common.threads import cap_threads
from services.gan.torch.networks import generator_of
from tests.bench.gan.model import version_of


def main() -> None:
    """Serve the calls."""
    name, threads = sys.argv[1].rpartition("/")[2], int(sys.argv[2])
    cap_threads(threads)
    torch.set_num_threads(threads)
    version, folder = version_of(name)
    generator = generator_of(version.manifest.family, version.manifest.config, folder)
    sizes: Any = generator.config

    def work(seeds: list[Any]) -> Sequence[Any]:
        rows = len(seeds)
        with torch.inference_mode():
            z, noise = (torch.randn(rows, width) for width in (sizes.latent, sizes.noise))
            made = generator(z, torch.zeros(rows, sizes.attributes), noise)
            bytes_ = ((made.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
        return list(bytes_.contiguous().numpy())

    serve(work, f"torch {torch.__version__}", [1, 2])


if __name__ == "__main__":
    main()
