"""An inference's inputs, checked against the model's description, as the kinds of models read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.kserve.tensors import Array
from services.common.errors import ServiceError, invalid

PLACE = "inputs.{}"
"""Where errors say that a tensor is wrong."""


_SEEDS = 2**64


class Inputs:
    """Tensors and settings by name; names that are not there were not given."""

    def __init__(self, tensors: Mapping[str, Array], settings: Mapping[str, Any]) -> None:
        """``settings`` came as parameters of the request, in the types of their tensors."""
        self._tensors, self._settings = tensors, settings

    def __contains__(self, name: str) -> bool:
        return name in self._tensors or name in self._settings

    def array(self, name: str) -> Array:
        """A tensor that was given."""
        return self._tensors[name]

    def texts(self, name: str) -> list[str]:
        """Elements of BYTES; none where not given. Raises INVALID_ARGUMENT for what is not UTF-8."""
        if name in self._settings:
            return [self._settings[name]]
        if name not in self._tensors:
            return []
        return [_text(name, place, each) for place, each in enumerate(self._tensors[name].flat)]

    def text(self, name: str) -> str:
        """The one element of BYTES; empty where not given."""
        return next(iter(self.texts(name)), "")

    def number(self, name: str) -> float | None:
        """A real number."""
        value = self._one(name)
        # 0.7 in 32 bits is 0.699999988: meant is the shortest decimal that stands for it.
        return float(str(value)) if isinstance(value, np.floating) else value

    def whole(self, name: str, least: int = 0) -> int | None:
        """A whole number. Raises INVALID_ARGUMENT below ``least``."""
        value = self._one(name)
        if value is not None and value < least:
            raise self.refused(name, f"{value} is below {least}")
        return None if value is None else int(value)

    def seeds(self, name: str) -> list[int]:
        """Seeds of a tensor that was given."""
        return [int(each) % _SEEDS for each in self._tensors[name].flat]

    def seed(self, name: str) -> int | None:
        """A seed; one below 0 stands for the number of 64 bits that looks like it."""
        value = self._one(name)
        return None if value is None else int(value) % _SEEDS

    def flag(self, name: str) -> bool | None:
        """A truth value."""
        value = self._one(name)
        return None if value is None else bool(value)

    def refused(self, name: str, why: str) -> ServiceError:
        """INVALID_ARGUMENT naming where ``name`` came from."""
        return invalid(f"parameters.{name}" if name in self._settings else PLACE.format(name), why)

    def _one(self, name: str) -> Any:
        if name in self._settings:
            return self._settings[name]
        return self._tensors[name].flat[0] if name in self._tensors else None


def _text(name: str, place: int, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise invalid(
            PLACE.format(name), f"element {place} is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
