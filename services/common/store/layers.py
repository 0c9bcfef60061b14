"""All layers of a store as one: what they show together, also while one of them is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from services.common.errors import ServiceError
from services.common.store.following import Shown
from services.common.store.layer import Layer, LayerAway, read_only
from services.common.store.manifest import ModelVersion
from services.common.store.reference import version_order

_logger = logging.getLogger("pequod.store")


class Layers:
    """The first one that has a name:version wins; later ones' aliases win. Blocking."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.all = layers
        # What each layer showed last: a place that is away for a while takes no model from a running service.
        self._seen_versions: dict[str, dict[str, tuple[str, ...]]] = {}
        self._seen_aliases: dict[tuple[str, str], dict[str, str]] = {}

    def versions(self) -> dict[str, dict[str, Layer]]:
        """Model name to version to the layer that holds it."""
        merged: dict[str, dict[str, Layer]] = {}
        for layer in self.all:
            try:
                found = self._seen_versions[layer.name] = layer.versions()
            except (OSError, LayerAway) as error:
                _logger.warning("store layer is away", extra={"layer": layer.name, "error": str(error)})
                found = self._seen_versions.get(layer.name, {})
            for name, versions in found.items():
                for version in versions:
                    merged.setdefault(name, {}).setdefault(version, layer)
        return merged

    def aliases(self, name: str) -> dict[str, str]:
        """Alias to the version of ``name`` that it names."""
        aliases: dict[str, str] = {}
        for layer in self.all:
            try:
                found = self._seen_aliases[layer.name, name] = layer.aliases(name)
            except (OSError, LayerAway) as error:
                _logger.warning("store layer is away", extra={"layer": layer.name, "error": str(error)})
                found = self._seen_aliases.get((layer.name, name), {})
            aliases.update(found)
        return {alias: version for alias, version in aliases.items() if version}

    def aliases_of(self, name: str, version: str) -> tuple[str, ...]:
        """The aliases that name a version now, sorted."""
        return tuple(sorted(alias for alias, target in self.aliases(name).items() if target == version))

    def look(self) -> dict[str, Shown | None]:
        """What every model shows now; None for one that cannot be read for the moment."""
        now: dict[str, Shown | None] = {}
        for name, versions in self.versions().items():
            try:
                now[name] = (versions, self.aliases(name))
            except ServiceError as error:
                _logger.warning("model cannot be followed", extra={"model": name, "error": str(error)})
                now[name] = None
        return now

    def manifests(self) -> Iterator[ModelVersion]:
        """Every version, by name, then version."""
        for name, versions in sorted(self.versions().items()):
            for version in sorted(versions, key=version_order):
                try:
                    yield self.version(name, version, versions[version])
                except (OSError, ServiceError) as error:
                    # One damaged manifest hides its version, not the others.
                    _logger.warning(
                        "version not listed", extra={"model": f"{name}:{version}", "error": str(error)}
                    )

    def version(self, name: str, version: str, layer: Layer) -> ModelVersion:
        """One version as ``layer`` has it. Raises as the layer does."""
        return ModelVersion(layer.manifest(name, version), layer.name, self.aliases_of(name, version))

    def named(self, name: str) -> Layer:
        """The layer called so."""
        return next(layer for layer in self.all if layer.name == name)

    def writable(self) -> Layer:
        """Where new versions and aliases go. Raises READ_ONLY_STORE."""
        for layer in reversed(self.all):
            if layer.writable:
                return layer
        raise read_only("no layer of the store is writable")

    def check_seen(self) -> None:
        """Nobody knows what a layer holds that never answered: that is not the same as nothing."""
        for layer in self.all:
            if layer.name not in self._seen_versions:
                raise LayerAway(layer.name, OSError("its models are not known yet"))
