"""The cluster's store as a publisher has it, and as a disk that goes bad leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.common.store import Manifest, ModelStore, describe_files, open_store
from services.common.store.manifest import MANIFEST_NAME, FileEntry
from services.finetune.waiting import wait
from tests.contract.deploy.manifests import ROOT
from tests.distributed.cluster import BUCKET, Cluster

_NGRAM = ROOT / "models/moby-ngram/1"
FILE = "counts.safetensors"
"""The one file of the models that are published here."""


class Shelf:
    """A client of the bucket with a cache of its own, around the link that can be cut."""

    def __init__(self, cluster: Cluster) -> None:
        self._s3, self._folder = cluster.s3, cluster.folder / "shelf"
        (self._folder / "none").mkdir(parents=True, exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:  # clients read the environment when they are made
            for name, value in cluster.s3_variables.items():
                patch.setenv(name, value)
            self.store: ModelStore = open_store(
                self._folder / "none", f"s3://{BUCKET}/models", self._folder / "cache"
            )

    def publish(self, name: str, version: str) -> Manifest:
        """The shipped n-gram model under another name; the same texts, by a file that differs for each."""
        folder = self._folder / f"{name}-{version}"
        folder.mkdir()
        edition = np.frombuffer(f"{name}:{version}".encode(), np.uint8)
        save_file({**load_file(_NGRAM / FILE), "edition": edition}, folder / FILE)
        known = json.loads((_NGRAM / MANIFEST_NAME).read_text())
        known |= {"name": name, "version": version, "files": describe_files(folder)}
        return wait(self.store.publish(folder, Manifest.model_validate(known))).manifest

    def point(self, name: str, version: str) -> None:
        """Move the alias that a bare name stands for."""
        wait(self.store.set_alias(name, "production", version))

    def damage(self, manifest: Manifest) -> None:
        """The bucket returns other bytes than were put there."""
        [entry] = manifest.files
        self._s3.put_object(Bucket=BUCKET, Key=_key(manifest, entry), Body=b"?" * entry.size_bytes)

    def mend(self, manifest: Manifest) -> None:
        """The bucket returns what was published again."""
        [entry] = manifest.files
        content = (self._folder / f"{manifest.name}-{manifest.version}" / entry.path).read_bytes()
        self._s3.put_object(Bucket=BUCKET, Key=_key(manifest, entry), Body=content)

    def whole_versions(self) -> set[str]:
        """Versions whose files are there, with the hashes that their manifests say."""
        versions = wait(self.store.list_versions())
        for version in versions:
            wait(self.store.fetch(version))
        return {str(version) for version in versions}


def _key(manifest: Manifest, entry: FileEntry) -> str:
    return f"models/{manifest.name}/{manifest.version}/files/{entry.sha256}/{entry.path}"


def damage_cache(cluster: Cluster, machine: int, manifest: Manifest) -> Path:
    """Change a byte of a machine's copy; returns the file."""
    file = cluster.folder / f"machine-{machine}/var/cache/objects" / manifest.digest / FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return file
