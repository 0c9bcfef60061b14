"""The model store: layers behind one view, references resolved to versions, files checked before use."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from services.common import tenants
from services.common.errors import Reason, ServiceError, invalid, model_not_found
from services.common.room import room_for
from services.common.store import cache, derived
from services.common.store.disk import DiskLayer
from services.common.store.following import Follower
from services.common.store.layer import Layer, Report, alias_conflict, version_exists
from services.common.store.layers import Layers
from services.common.store.local import LocalFiles
from services.common.store.manifest import Kind, Manifest, ModelVersion
from services.common.store.objects import ObjectLayer
from services.common.store.ownership import check_owner, name_taken, owner_of, unknown
from services.common.store.reference import (
    DEFAULT_ALIAS,
    Reference,
    check_alias,
    check_name,
    check_version,
    parse_reference,
    version_order,
)
from services.common.store.safety import Stamp, verify

if TYPE_CHECKING:
    from services.common.store.hub import Hub

_logger = logging.getLogger("pequod.store")


@dataclass(frozen=True)
class Change:
    """The version that a bare name or an alias of ``name`` stands for may have changed."""

    name: str


def open_store(
    shipped: Path, user: str, cache: Path, file_roots: Sequence[Path] = (), cache_bytes: int = 0
) -> ModelStore:
    """The usual two layers: the shipped models, read-only, then the user's (a folder or a URL)."""
    poll_seconds = 5.0 if "://" in user else 1.0
    layers = layers_of(shipped, user, cache)
    return ModelStore(layers, cache, file_roots, poll_seconds, kept=(shipped,), cache_bytes=cache_bytes)


def layers_of(shipped: Path, user: str, cache: Path) -> Sequence[Layer]:
    """The shipped one, read-only, then the user's."""
    mine = ObjectLayer(user, "user", cache) if "://" in user else DiskLayer(Path(user), "user", writable=True)
    return DiskLayer(shipped, "shipped", writable=False), mine


class ModelStore:
    """Versions of all layers. The first layer that has a name:version wins; later layers' aliases win."""

    def __init__(
        self,
        layers: Sequence[Layer],
        cache: Path,
        file_roots: Sequence[Path] = (),
        poll_seconds: float = 1.0,
        hub_endpoint: str | None = None,
        kept: Sequence[Path] = (),
        cache_bytes: int = 0,
    ) -> None:
        """``cache`` holds fetched and derived data; ``file:`` may name folders inside ``file_roots``.

        ``kept`` are folders with data derived at set-up, which are looked at before the cache.
        ``cache_bytes``: what the cache may take; 0 is no limit.
        """
        self._layers = Layers(layers)
        self._cache = cache
        self._kept = kept
        self._cache_bytes = cache_bytes
        self._hub_endpoint = hub_endpoint
        self._local = LocalFiles(file_roots)
        self._poll_seconds = poll_seconds
        self._verified: set[Stamp] = set()
        self._followers: list[Follower] = []

    @cached_property
    def _hub(self) -> Hub:
        """Opened by the first ``hf:``: to import its library is a fifth of a process's start."""
        from services.common.store.hub import Hub

        return Hub(self._cache, self._hub_endpoint)

    async def list_versions(self, kind: Kind | None = None) -> list[ModelVersion]:
        """Every version of every layer that the call's tenant may see, by name, then version."""
        return await asyncio.to_thread(self._list, kind)

    async def resolve(self, reference: str, report: Report | None = None) -> ModelVersion:
        """The version a reference names now. Hub references are fetched for it.

        Raises INVALID_ARGUMENT for a malformed reference, NOT_FOUND with the close names, also for a model
        of another tenant.
        """
        return await asyncio.to_thread(self._resolve, reference, report or _silent)

    async def owner_of(self, name: str) -> str | None:
        """The tenant whose model ``name`` is, seen by the call or not; None where there is no such model."""
        return await asyncio.to_thread(lambda: owner_of(name, self._layers.versions().get(name, {})))

    async def aliases_of(self, version: ModelVersion) -> tuple[str, ...]:
        """The aliases that name a version now, sorted."""
        return await asyncio.to_thread(self._layers.aliases_of, version.name, version.version)

    async def fetch(self, version: ModelVersion, report: Report | None = None) -> Path:
        """A local folder with the version's files, their hashes checked.

        Raises DATA_LOSS naming a file, RESOURCE_EXHAUSTED, reason DISK_FULL, without room in the cache.
        """
        return await asyncio.to_thread(self._fetch, version, report or _silent)

    async def publish(self, folder: Path, manifest: Manifest) -> ModelVersion:
        """Make a version from ``folder`` in the user's layer, whole or not at all.

        The same content again is success; other content raises ALREADY_EXISTS, and so does a name that
        is another tenant's.
        """
        check_name(manifest.name, "name")
        check_version(manifest.version, "version")
        layer = self._layers.writable()
        return await asyncio.to_thread(self._publish, folder, manifest, layer)

    async def set_alias(self, name: str, alias: str, version: str, expected: str | None = None) -> str:
        """Point ``name@alias`` at ``version`` ("" removes it); returns the version it named before.

        ``expected``, when given, is what it must name now ("": nothing); ABORTED otherwise. Raises
        PERMISSION_DENIED for a model that is not the caller's.
        """
        return await asyncio.to_thread(self._set_alias, name, alias, version, expected)

    async def derive(
        self, version: ModelVersion, target: str, build: derived.Build, force: bool = False
    ) -> Path:
        """The folder of data derived from a version, built once and kept under its digest."""
        return await asyncio.to_thread(self.derive_now, version, target, build, force)

    def derive_now(
        self, version: ModelVersion, target: str, build: derived.Build, force: bool = False
    ) -> Path:
        """``derive`` for code that runs in a thread already."""
        with room_for(f"what is derived from model {version}"):
            folder = derived.derive(
                self._cache, version.digest, target, build, force, self._kept, of=str(version)
            )
        if folder.is_relative_to(self._cache):
            self._keep_in_cache(folder.parent)
        return folder

    async def watch(self) -> AsyncGenerator[Change, None]:
        """Follow all layers; first comes one change for every model there is.

        So whoever resolved something before the watch began misses no change either. A layer that
        is away for a while is asked again.
        """
        follower = Follower()
        self._followers.append(follower)
        try:
            while True:
                for name in follower.looked(await asyncio.to_thread(self._layers.look)):
                    yield Change(name)
                await asyncio.sleep(self._poll_seconds)
        finally:
            self._followers.remove(follower)

    def _list(self, kind: Kind | None) -> list[ModelVersion]:
        return [
            each
            for each in self._layers.manifests()
            if (kind is None or each.manifest.kind == kind) and tenants.sees(each.manifest.tenant)
        ]

    def _publish(self, folder: Path, manifest: Manifest, layer: Layer) -> ModelVersion:
        verify(folder, manifest, set())
        versions = self._layers.versions().get(manifest.name, {})
        if owner_of(manifest.name, versions) not in (None, manifest.tenant):
            raise name_taken(manifest.name)
        # What another layer has already would hide the new version, or be hidden by it.
        holder = versions.get(manifest.version, layer)
        if holder is layer:
            layer.publish(folder, manifest)
        elif not holder.manifest(manifest.name, manifest.version).same_content(manifest):
            raise version_exists(manifest)
        return self._layers.version(manifest.name, manifest.version, holder)

    def _resolve(self, text: str, report: Report) -> ModelVersion:
        reference = parse_reference(text)
        if reference.repo:
            folder = self._hub.folder(reference, report)
            return self._hub.describe(f"hf:{reference.repo}", folder)
        if reference.path:
            return self._local.describe(reference)
        return self._resolve_name(reference, text)

    def _resolve_name(self, reference: Reference, text: str) -> ModelVersion:
        all_versions = self._layers.versions()
        versions = all_versions.get(reference.name)
        if not versions:
            self._layers.check_seen()
            raise unknown(text, all_versions)
        aliases = self._layers.aliases(reference.name)
        for follower in list(self._followers):
            follower.resolved(reference.name, (versions, aliases))
        wanted = reference.version or _wanted(reference, versions, aliases, text)
        if not tenants.sees(owner_of(reference.name, versions) or tenants.LOCAL):
            raise unknown(text, all_versions)
        if wanted not in versions:
            known = sorted(f"{reference.name}:{version}" for version in versions)
            raise model_not_found(text, known)
        layer = versions[wanted]
        names = sorted(alias for alias, target in aliases.items() if target == wanted)
        return ModelVersion(layer.manifest(reference.name, wanted), layer.name, tuple(names))

    def _fetch(self, version: ModelVersion, report: Report) -> Path:
        within = None
        if version.layer == "hub":
            folder = self._hub.folder(Reference(repo=version.name[3:], revision=version.version), report)
            within = self._hub.cache  # snapshots are links into the cache's blobs
        elif version.layer == "file":
            folder, within = self._local.folder(parse_reference(version.name))
        else:
            folder = self._fetch_whole(self._layers.named(version.layer), version.manifest, report)
        if version.layer in {"hub", "file"}:
            verify(folder, version.manifest, self._verified, within)
        if folder.is_relative_to(self._cache):
            # A snapshot of a hub lies in its repository's folder, which leaves as a whole.
            self._keep_in_cache(folder if within is None else folder.parents[1])
        return folder

    def _keep_in_cache(self, entry: Path) -> None:
        """Note that an entry is used, and let others leave where there are too many."""
        cache.used(entry)
        if freed := cache.trim(self._cache, self._cache_bytes):
            _logger.info("cache trimmed", extra={"bytes": freed, "limit": self._cache_bytes})

    def _fetch_whole(self, layer: Layer, manifest: Manifest, report: Report) -> Path:
        """The version's folder; a copy in the cache that is damaged is fetched once more."""
        with room_for(f"model {manifest.name}:{manifest.version}"):
            folder = layer.folder(manifest, report)
            try:
                verify(folder, manifest, self._verified)
            except ServiceError as error:
                if error.reason is not Reason.FILE_TAMPERED or not layer.forget(manifest):
                    raise
                _logger.warning("fetched anew", extra={"model": manifest.name, "error": str(error)})
                folder = layer.folder(manifest, report)
                verify(folder, manifest, self._verified)
            return folder

    def _set_alias(self, name: str, alias: str, version: str, expected: str | None) -> str:
        check_name(name, "name")
        check_alias(alias, "alias")
        models = self._layers.versions()
        check_owner(name, models)
        versions = models[name]
        if version and version not in versions:
            known = ", ".join(sorted(versions, key=version_order))
            raise invalid("version", f"{name} has no version {version!r}; it has {known}")
        shown = self._layers.aliases(name).get(alias, "")
        layer = self._layers.writable()
        if alias in layer.aliases(name):
            before = layer.set_alias(name, alias, version, expected)
        # Only a read-only layer shows it, or none: then the writable one must still have none.
        elif expected is not None and expected != shown:
            raise alias_conflict(name, alias, expected, shown)
        else:
            before = layer.set_alias(name, alias, version, None if expected is None else "")
        # A garbage collection hides a version first and looks at aliases then: one of both sees the other.
        if version and not versions[version].holds(name, version):
            with contextlib.suppress(ServiceError):
                layer.set_alias(name, alias, before, version)
            raise model_not_found(f"{name}:{version}", ())
        return before or shown


def _wanted(reference: Reference, versions: Iterable[str], aliases: Mapping[str, str], text: str) -> str:
    """The version that an alias names, or for a bare name @production's, or the newest."""
    if reference.alias and reference.alias not in aliases:
        raise model_not_found(text, [f"{reference.name}@{alias}" for alias in aliases])
    newest = max(versions, key=version_order)
    return aliases.get(reference.alias or DEFAULT_ALIAS, newest)


def _silent(done: int, total: int, message: str) -> None:
    """Nobody watches."""
