"""Small models for the tests of the store and of what stands on it."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from services.common.errors import ServiceError
from services.common.store import Kind, Manifest, ModelStore, describe_files
from services.common.store.disk import DiskLayer


def write_files(folder: Path, seed: int = 0) -> Path:
    """A real safetensors file and a JSON file, different for every seed."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"w": np.full(16, seed, np.float32)}, folder / "weights.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps({"seed": seed}))
    return folder


def manifest_of(folder: Path, name="toy", version="1", **fields) -> Manifest:
    fields = {"kind": Kind.NGRAM, "family": "ngram", **fields}
    return Manifest(name=name, version=version, files=describe_files(folder), **fields)


def disk_store(tmp_path: Path, **options) -> ModelStore:
    """A read-only layer ``shipped`` under a writable layer ``user``."""
    layers = [
        DiskLayer(tmp_path / "shipped", "shipped", writable=False),
        DiskLayer(tmp_path / "user", "user", writable=True),
    ]
    return ModelStore(layers, tmp_path / "cache", poll_seconds=0.02, **options)


def ship(tmp_path: Path, name="toy", version="1", seed=0, **fields) -> None:
    """Put a version into the shipped layer."""
    folder = write_files(tmp_path / "made" / f"{name}-{version}-{seed}", seed)
    layer = DiskLayer(tmp_path / "shipped", "shipped", writable=True)
    layer.publish(folder, manifest_of(folder, name, version, **fields))


async def publish(store: ModelStore, tmp_path: Path, name="toy", version="1", seed=0, **fields):
    folder = write_files(tmp_path / "made" / f"{name}-{version}-{seed}", seed)
    return await store.publish(folder, manifest_of(folder, name, version, **fields))


@contextlib.contextmanager
def refused(code, reason, *words):
    """The block must raise this error, with these words in its message."""
    with pytest.raises(ServiceError) as caught:
        yield caught
    assert (caught.value.code, caught.value.reason) == (code, reason), caught.value
    for word in words:
        assert word in caught.value.message
