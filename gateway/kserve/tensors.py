"""Tensors as the Open Inference Protocol has them: their datatypes, and their elements in and out."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from services.common.errors import ServiceError, invalid

Array: TypeAlias = npt.NDArray[Any]
"""Of a datatype's numpy type; of Python's ``bytes`` for BYTES."""

BYTES, BOOL = "BYTES", "BOOL"
NUMPY: dict[str, np.dtype[Any]] = {
    BOOL: np.dtype("?"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    BYTES: np.dtype(object),
}
"""The numpy type of each datatype. BF16, which numpy lacks, is no datatype of any model here."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, eq=False)
class Tensor:
    """An output."""

    name: str
    datatype: str
    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(self.values.shape)


@dataclass(frozen=True)
class Raw:
    """Elements as bytes: little-endian, a BYTES element as its length in 4 bytes and its content."""

    data: bytes


Content: TypeAlias = Raw | Sequence[Any]
"""An input's elements in row-major order: as bytes, or one by one."""


def of_texts(name: str, texts: Sequence[str]) -> Tensor:
    """A tensor of BYTES of one dimension."""
    return Tensor(name, BYTES, bytes_array([text.encode() for text in texts]))


def bytes_array(elements: Sequence[bytes]) -> Array:
    """Of one dimension; numpy would take bytes for texts of one length."""
    values = np.empty(len(elements), object)
    values[:] = elements
    return values


def count_of(shape: Sequence[int]) -> int:
    """Elements of a shape without free sizes."""
    return math.prod(shape)


def decode(field: str, datatype: str, shape: Sequence[int], content: Content) -> Array:
    """The elements in their shape. Raises INVALID_ARGUMENT naming ``field``, with what is expected."""
    if not isinstance(content, Raw):
        values = _from_elements(field, datatype, shape, content)
    elif datatype == BYTES:
        values = bytes_array(_split(field, content.data, count_of(shape)))
    else:
        values = _from_raw(field, datatype, shape, content.data)
    return values.reshape(tuple(shape))


def encode(values: Array) -> bytes:
    """The elements as bytes."""
    if values.dtype == object:
        return b"".join(part for each in values.flat for part in (_LENGTH.pack(len(each)), each))
    little = values.dtype.newbyteorder("<")
    return np.ascontiguousarray(values, little).tobytes()


def _from_raw(field: str, datatype: str, shape: Sequence[int], data: bytes) -> Array:
    kind = NUMPY[datatype]
    wanted = count_of(shape) * kind.itemsize
    if len(data) != wanted:
        raise _size(field, f"{len(data)} bytes", datatype, shape, f"{wanted} bytes")
    if datatype == BOOL:
        # A byte that is neither 0 nor 1 would be a truth value that numpy does not know.
        return np.frombuffer(data, np.uint8).astype(bool)
    return np.frombuffer(data, kind)


def _split(field: str, data: bytes, count: int) -> list[bytes]:
    """``count`` elements, each after its length."""
    elements: list[bytes] = []
    at = 0
    for place in range(count):
        start = at + _LENGTH.size
        if start > len(data):
            raise invalid(field, f"ends after {place} of {count} BYTES elements")
        at = start + int(_LENGTH.unpack_from(data, at)[0])
        if at > len(data):
            raise invalid(field, f"element {place} says {at - start} bytes, {len(data) - start} are left")
        elements.append(data[start:at])
    if at != len(data):
        raise invalid(field, f"has {len(data) - at} bytes after its {count} BYTES elements")
    return elements


def _from_elements(field: str, datatype: str, shape: Sequence[int], content: Sequence[Any]) -> Array:
    count = count_of(shape)
    if len(content) != count:
        raise _size(field, f"{len(content)} elements", datatype, shape, str(count))
    if datatype == BYTES:
        return bytes_array([_bytes_of(field, each) for each in content])
    _check_types(field, datatype, content)
    kind = NUMPY[datatype]
    if kind.kind == "f":
        return _reals(field, datatype, content)
    values = np.array(content, object)
    if kind.kind in "iu" and count:
        limits = np.iinfo(kind)
        if values.min() < limits.min or values.max() > limits.max:
            raise invalid(field, f"holds a number outside {limits.min}..{limits.max}, as {datatype} has them")
    return values.astype(kind)


def _reals(field: str, datatype: str, content: Sequence[Any]) -> Array:
    try:
        values = np.array(content, np.float64)
    except OverflowError:
        raise _too_large(field, datatype) from None
    with np.errstate(over="ignore"):
        cast = values.astype(NUMPY[datatype])
    if (np.isinf(cast) & np.isfinite(values)).any():
        raise _too_large(field, datatype)
    return cast


def _too_large(field: str, datatype: str) -> ServiceError:
    return invalid(field, f"holds a number that is too large for {datatype}")


def _check_types(field: str, datatype: str, content: Sequence[Any]) -> None:
    """JSON's ``true`` is no number, and 1.5 is no whole one."""
    wanted: type | tuple[type, ...] = int
    if datatype == BOOL:
        wanted = bool
    elif datatype.startswith("FP"):
        wanted = (int, float)
    for place, each in enumerate(content):
        if not isinstance(each, wanted) or (isinstance(each, bool) and datatype != BOOL):
            raise invalid(field, f"element {place} is {_shown(each)}, {datatype} is expected")


def _bytes_of(field: str, element: Any) -> bytes:
    if isinstance(element, str):
        return element.encode()
    if not isinstance(element, bytes):
        raise invalid(field, f"holds {_shown(element)}, texts are expected")
    return element


def _size(field: str, found: str, datatype: str, shape: Sequence[int], wanted: str) -> ServiceError:
    return invalid(field, f"has {found}, {datatype}{list(shape)} has {wanted}")


def _shown(value: Any) -> str:
    return repr(value)[:40]
