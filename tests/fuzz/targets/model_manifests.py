"""model.json of a version, adapter and index files' kin: manifests, aliases, and what their paths may be."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.store.layer import read_alias
from services.common.store.manifest import Manifest, read_manifest
from services.common.store.reference import version_order
from tests.fuzz.known import root

REFUSALS = ()
WORDS = (
    *rb"""
        "name" "version" "kind" "files" "path" "sha256" "size_bytes" "created" 1e999 "config" "metrics"
        "tenant" "inputs" "shape" ../a NaN [[[[[[
    """.split(),
    *(b"\\ud800",),
)


def run(data: bytes) -> None:
    if data[:1] == b"@":
        read_alias(data[1:], "alias")
        return
    manifest = read_manifest(data, "model.json")
    assert not any(".." in entry.path.split("/") or entry.path.startswith("/") for entry in manifest.files)
    again = Manifest.model_validate_json(manifest.to_json())
    assert again.digest == manifest.digest
    version_order(manifest.version)


def seeds() -> Iterable[bytes]:
    for name in ("words", "moby-ngram", "storyteller"):
        yield (root() / f"models/{name}/1/model.json").read_bytes()[:6000]
    yield b'{"name": "a", "version": "1", "kind": "ngram", "family": "f", "config": {"a": [1, null]}}'
    yield (
        b'{"name": "a", "version": "1", "kind": "gan", "family": "f", "files": [{"path": "a", '
        b'"size_bytes": 1, "sha256": "%s"}], "metrics": {"a": 0.5}, "created": "2025-01-01T00:00:00Z"}'
        % (b"0" * 64)
    )
    yield b'@{"version": "1"}'
