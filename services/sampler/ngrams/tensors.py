"""Memory-maps tensors of safetensors files, which the library's numpy reader would copy."""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_LENGTH = struct.Struct("<Q")
_DTYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64}


@dataclass(frozen=True, eq=False)
class MappedTensor:
    """A one-dimensional tensor that lives in a mapped file, ``begin`` bytes from its start."""

    file: mmap.mmap
    begin: int
    values: npt.NDArray[Any]


def map_tensor(path: Path, name: str) -> MappedTensor:
    """Map tensor ``name`` of ``path``. Raises ValueError for a file that is not what its header says."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (header_bytes,) = _LENGTH.unpack_from(mapped)
        begin = _LENGTH.size + header_bytes
        entry = json.loads(mapped[_LENGTH.size : begin])[name]
        first, last = entry["data_offsets"]
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        count = (last - first) // dtype.itemsize
        values = np.frombuffer(mapped, dtype, count, begin + first)
    except (struct.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} is not a whole safetensors file with tensor {name!r}: {error}"
        ) from None
    return MappedTensor(mapped, begin + first, values)
