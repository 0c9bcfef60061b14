"""The model store: layers behind one view, references resolved to versions, files checked before use."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import Code, Reason, ServiceError, invalid, model_not_found
from services.common.store import derived, hub
from services.common.store.disk import DiskLayer
from services.common.store.layer import Layer, Report
from services.common.store.manifest import Kind, Manifest, ModelVersion
from services.common.store.objects import ObjectLayer
from services.common.store.reference import (
    DEFAULT_ALIAS,
    Reference,
    check_alias,
    check_name,
    check_version,
    parse_reference,
)
from services.common.store.safety import verify

_logger = logging.getLogger("pequod.store")


@dataclass(frozen=True)
class Change:
    """The version a bare name or an alias resolves to may have changed."""

    name: str


def open_store(shipped: Path, user: str, cache: Path, file_roots: Sequence[Path] = ()) -> ModelStore:
    """The usual two layers: the shipped models, read-only, then the user's (a folder or a URL)."""
    remote = "://" in user
    mine = ObjectLayer(user, "user", cache) if remote else DiskLayer(Path(user), "user", writable=True)
    return ModelStore([DiskLayer(shipped, "shipped", writable=False), mine], cache, file_roots)


class ModelStore:
    """Versions of all layers. The first layer that has a name:version wins; later layers' aliases win."""

    def __init__(
        self, layers: Sequence[Layer], cache: Path, file_roots: Sequence[Path] = (), poll_seconds: float = 1.0
    ) -> None:
        """``cache`` holds fetched and derived data; ``file:`` may name folders inside ``file_roots``."""
        self._layers = layers
        self._cache = cache
        self._hub = hub.Hub(cache)
        self._file_roots = file_roots
        self._poll_seconds = poll_seconds
        self._verified: set[tuple[str, int, int, int]] = set()

    async def list_versions(self, kind: Kind | None = None) -> list[ModelVersion]:
        """Every version of every layer, by name, then version."""
        return await asyncio.to_thread(self._list, kind)

    async def resolve(self, reference: str, report: Report | None = None) -> ModelVersion:
        """The version a reference names now. Hub references are fetched for it.

        Raises INVALID_ARGUMENT for a malformed reference, NOT_FOUND with the close names.
        """
        return await asyncio.to_thread(self._resolve, reference, report or _silent)

    async def fetch(self, version: ModelVersion, report: Report | None = None) -> Path:
        """A local folder with the version's files, their hashes checked. Raises DATA_LOSS naming a file."""
        return await asyncio.to_thread(self._fetch, version, report or _silent)

    async def publish(self, folder: Path, manifest: Manifest) -> ModelVersion:
        """Make a version from ``folder`` in the user's layer, whole or not at all.

        The same content again is success; other content raises ALREADY_EXISTS.
        """
        check_name(manifest.name, "name")
        check_version(manifest.version, "version")
        layer = self._writable()
        await asyncio.to_thread(verify, folder, manifest, set())
        await asyncio.to_thread(layer.publish, folder, manifest)
        return ModelVersion(manifest, layer.name)

    async def set_alias(self, name: str, alias: str, version: str, expected: str | None = None) -> str:
        """Point ``name@alias`` at ``version`` ("" removes it); returns the version it named before.

        ``expected``, when given, is what it must name now ("": nothing); ABORTED otherwise.
        """
        return await asyncio.to_thread(self._set_alias, name, alias, version, expected)

    async def derive(
        self, version: ModelVersion, target: str, build: derived.Build, force: bool = False
    ) -> Path:
        """The folder of data derived from a version, built once and kept under its digest."""
        return await asyncio.to_thread(derived.derive, self._cache, version.digest, target, build, force)

    def derive_now(self, version: ModelVersion, target: str, build: derived.Build) -> Path:
        """``derive`` for code that runs in a thread already."""
        return derived.derive(self._cache, version.digest, target, build)

    async def watch(self) -> AsyncIterator[Change]:
        """Follow all layers; a layer that is away for a while is asked again."""
        before = await asyncio.to_thread(self._snapshot)
        while True:
            await asyncio.sleep(self._poll_seconds)
            now = await asyncio.to_thread(self._snapshot)
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    yield Change(name)
            before = now

    def _snapshot(self) -> dict[str, object]:
        versions = self._versions()
        return {name: (found, self._aliases(name)) for name, found in versions.items()}

    def _versions(self) -> dict[str, dict[str, Layer]]:
        """Model name to version to the layer that holds it."""
        merged: dict[str, dict[str, Layer]] = {}
        for layer in self._layers:
            try:
                found = layer.versions()
            except OSError as error:
                _logger.warning("store layer is away", extra={"layer": layer.name, "error": str(error)})
                continue
            for name, versions in found.items():
                for version in versions:
                    merged.setdefault(name, {}).setdefault(version, layer)
        return merged

    def _aliases(self, name: str) -> dict[str, str]:
        aliases: dict[str, str] = {}
        for layer in self._layers:
            try:
                aliases.update(layer.aliases(name))
            except OSError as error:
                _logger.warning("store layer is away", extra={"layer": layer.name, "error": str(error)})
        return {alias: version for alias, version in aliases.items() if version}

    def _list(self, kind: Kind | None) -> list[ModelVersion]:
        found = [
            self._version(name, version, layer)
            for name, versions in sorted(self._versions().items())
            for version, layer in sorted(versions.items(), key=lambda item: _version_order(item[0]))
        ]
        return [each for each in found if kind is None or each.manifest.kind == kind]

    def _version(self, name: str, version: str, layer: Layer) -> ModelVersion:
        aliases = sorted(alias for alias, target in self._aliases(name).items() if target == version)
        return ModelVersion(layer.manifest(name, version), layer.name, tuple(aliases))

    def _resolve(self, text: str, report: Report) -> ModelVersion:
        reference = parse_reference(text)
        if reference.repo:
            folder = self._hub.folder(reference, report)
            return hub.describe(f"hf:{reference.repo}", folder.name[:12], folder, "hub")
        if reference.path:
            folder = hub.local_folder(reference, self._file_roots)
            return hub.describe(f"file:{reference.path}", "local", folder, "file")
        return self._resolve_name(reference, text)

    def _resolve_name(self, reference: Reference, text: str) -> ModelVersion:
        all_versions = self._versions()
        versions = all_versions.get(reference.name)
        if not versions:
            raise model_not_found(text, all_versions)
        wanted = reference.version or self._wanted(reference, versions, text)
        if wanted not in versions:
            known = sorted(f"{reference.name}:{version}" for version in versions)
            raise model_not_found(text, known)
        return self._version(reference.name, wanted, versions[wanted])

    def _wanted(self, reference: Reference, versions: dict[str, Layer], text: str) -> str:
        """The version that an alias names, or for a bare name @production's, or the newest."""
        aliases = self._aliases(reference.name)
        if reference.alias and reference.alias not in aliases:
            raise model_not_found(text, [f"{reference.name}@{alias}" for alias in aliases])
        newest = max(versions, key=_version_order)
        return aliases.get(reference.alias or DEFAULT_ALIAS, newest)

    def _fetch(self, version: ModelVersion, report: Report) -> Path:
        if version.layer == "hub":
            revision = version.name.removeprefix("hf:")
            folder = self._hub.folder(Reference(repo=revision, revision=version.version), report)
        elif version.layer == "file":
            folder = hub.local_folder(parse_reference(version.name), self._file_roots)
        else:
            folder = self._layer(version.layer).folder(version.manifest, report)
        verify(folder, version.manifest, self._verified)
        return folder

    def _set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        check_name(name, "name")
        check_alias(alias, "alias")
        versions = self._versions().get(name)
        if not versions:
            raise model_not_found(name, self._versions())
        if version and version not in versions:
            known = ", ".join(sorted(versions, key=_version_order))
            raise invalid("version", f"{name} has no version {version!r}; it has {known}")
        shown = self._aliases(name).get(alias, "")
        layer = self._writable()
        # The user's layer may not hold the alias yet that a read-only layer shows.
        mine = layer.aliases(name)
        if alias not in mine and expected is not None and expected == shown:
            expected = ""
        before = layer.set_alias(name, alias, version, expected)
        return before if alias in mine else shown

    def _writable(self) -> Layer:
        for layer in reversed(self._layers):
            if layer.writable:
                return layer
        raise ServiceError(
            Code.FAILED_PRECONDITION, Reason.READ_ONLY_STORE, "no layer of the store is writable"
        )

    def _layer(self, name: str) -> Layer:
        return next(layer for layer in self._layers if layer.name == name)


def _version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "2" before "10" and "1.9" before "1.10"."""
    parts = re.findall(r"\d+|[^\d]+", version)
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


def _silent(done: int, total: int, message: str) -> None:
    """Nobody watches."""
