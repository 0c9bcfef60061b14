"""The packages of an image, from pyproject.toml: python deploy/packages.py SERVICE [cpu|cuda].

Needs nothing but Python, because an image is built with it before anything is installed.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
VARIANTS = ("cpu", "cuda")

EXTRAS = {
    "gateway": {"cpu": ()},
    # Served from exports by ONNX Runtime: no torch. On GPUs torch runs what has no export, and brings CUDA.
    "tokenizer": {"cpu": ("cpu",), "cuda": ("gpu", "train")},
    "sampler": {"cpu": ("cpu",), "cuda": ("gpu", "train")},
    "diffusion": {"cpu": ("cpu",), "cuda": ("gpu", "train")},
    "gan": {"cpu": ("cpu",), "cuda": ("gpu", "train")},
    # Training is torch's work.
    "finetune": {"cpu": ("cpu", "train", "kubernetes"), "cuda": ("gpu", "train", "kubernetes")},
}
"""The extras of pyproject.toml that each image has, by its variant."""


def packages(service: str, variant: str) -> list[str]:
    """Requirements without versions, sorted: deploy/requirements.lock has those. Raises KeyError."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    found = set(project["dependencies"])
    for extra in EXTRAS[service][variant]:
        found |= set(project["optional-dependencies"][extra])
    return sorted(found)


def main(arguments: Sequence[str]) -> int:
    """Write one requirement a line; returns the exit code."""
    service, variant = (*arguments, "cpu")[:2] if arguments else ("", "cpu")
    try:
        found = packages(service, variant)
    except KeyError:
        known = ", ".join(f"{name} ({', '.join(variants)})" for name, variants in EXTRAS.items())
        sys.stderr.write(f"there is no image {service!r} for {variant!r}; there are: {known}\n")
        return 2
    sys.stdout.write("".join(f"{each}\n" for each in found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
