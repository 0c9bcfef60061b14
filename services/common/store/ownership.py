"""Whose a model's name is: all versions of a name belong to one tenant, the first that published it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from services.common import tenants
from services.common.errors import Code, Reason, ServiceError, model_not_found
from services.common.store.layer import Layer

Versions = Mapping[str, Layer]
"""A model's versions, each with the layer that holds it."""


def owner_of(name: str, versions: Versions) -> str | None:
    """The tenant; None where there is no version."""
    for version, layer in versions.items():
        with contextlib.suppress(OSError, ServiceError):  # a damaged manifest hides its version only
            return layer.manifest(name, version).tenant
    return None


def check_owner(name: str, models: Mapping[str, Versions]) -> None:
    """Raises NOT_FOUND for a model that the caller may not see, PERMISSION_DENIED for one that is shared."""
    owner = owner_of(name, models.get(name, {}))
    if owner is None or not tenants.sees(owner):
        raise unknown(name, models)
    if not tenants.owns(owner):
        what = f"model {name!r} is shared by all tenants; its aliases are the operator's to move"
        raise ServiceError(Code.PERMISSION_DENIED, Reason.NOT_OWNER, what, resource=("model", name))


def unknown(reference: str, models: Mapping[str, Versions]) -> ServiceError:
    """NOT_FOUND with the close names among those that the caller sees."""
    return model_not_found(reference, _seen(models))


def name_taken(name: str) -> ServiceError:
    """ALREADY_EXISTS: names are shared, models are not."""
    what = f"the name {name!r} is another tenant's; choose another"
    return ServiceError(Code.ALREADY_EXISTS, Reason.NAME_TAKEN, what, resource=("model", name))


def _seen(models: Mapping[str, Versions]) -> Iterable[str]:
    return (
        name
        for name, versions in models.items()
        if (owner := owner_of(name, versions)) is not None and tenants.sees(owner)
    )
