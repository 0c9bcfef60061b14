"""Finds a family (architecture code) by its file name in a package folder and imports it on demand."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from services.common.errors import ServiceError, unsupported


def names(package: ModuleType) -> list[str]:
    """The families of ``package``, sorted: its modules and subpackages that do not begin with ``_``."""
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def load(package: ModuleType, name: str) -> ModuleType:
    """Import the family ``name`` ("_" in its file for "-"). FAILED_PRECONDITION for one there is not."""
    name = name.replace("-", "_")
    if name not in names(package):
        raise _unknown(package, name)
    return importlib.import_module(f"{package.__name__}.{name}")


def _unknown(package: ModuleType, name: str) -> ServiceError:
    known = ", ".join(names(package)) or "none"
    return unsupported(f"no family {name!r} in {package.__name__}; known families: {known}")
