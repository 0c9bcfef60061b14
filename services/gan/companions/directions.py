"""``directions.safetensors``: ways through style space along which an attribute changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from services.common.errors import invalid
from services.common.pictures.arrays import Array

FILE = "directions.safetensors"
_TENSOR, _NAMES = "directions", "names"


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions by name (``attribute:word``), each as long as a standard deviation of its attribute."""

    vectors: Mapping[str, Array]
    """[width] each."""

    def resolve(self, name: str, field: str) -> str:
        """The direction called ``name``, or whose word alone it is where only one has it.

        Raises INVALID_ARGUMENT listing what is known.
        """
        if name in self.vectors:
            return name
        ends = [each for each in self.vectors if each.partition(":")[2] == name]
        if len(ends) == 1:
            return ends[0]
        known = ", ".join(ends or self.vectors)
        raise invalid(field, f"there is no one direction {name!r}; known: {known or 'none'}")


def write(folder: Path, vectors: Mapping[str, Array]) -> None:
    """Write the file, in 16 bits."""
    stacked = np.stack(list(vectors.values())).astype(np.float16)
    save_file({_TENSOR: stacked}, folder / FILE, {_NAMES: json.dumps(list(vectors))})


def read(folder: Path, width: int) -> Directions | None:
    """What ``folder`` has. Raises ValueError where it does not fit styles of ``width``."""
    if not (folder / FILE).is_file():
        return None
    with safe_open(folder / FILE, "numpy") as file:
        names = json.loads((file.metadata() or {}).get(_NAMES, "[]"))
        vectors = file.get_tensor(_TENSOR).astype(np.float32)
    if vectors.shape != (len(names), width):
        raise ValueError(f"{FILE} is {list(vectors.shape)}; {len(names)} names of {width} numbers are needed")
    return Directions(dict(zip(names, vectors, strict=True)))
