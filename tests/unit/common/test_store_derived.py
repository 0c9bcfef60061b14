"""Derived data: built once, kept, built again when damaged, whole or not there."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.common.store.derived import DERIVED_NAME, derive, derived_folder, facts_of, is_intact
from tests.unit.common.store_parts import disk_store, publish

DIGEST = "0" * 64


class Builder:
    def __init__(self):
        self.runs = 0

    def __call__(self, folder):
        self.runs += 1
        (folder / "sub").mkdir()
        (folder / "sub" / "data.bin").write_text(f"run {self.runs}")
        return {"rows": 3}


def read(folder):
    return (folder / "sub" / "data.bin").read_text()


async def test_built_once_and_kept(tmp_path):
    store, build = disk_store(tmp_path), Builder()
    version = await publish(store, tmp_path)
    folder = await store.derive(version, "index", build)
    assert folder == derived_folder(tmp_path / "cache", version.digest, "index")
    assert store.derive_now(version, "index", build) == folder
    assert (build.runs, read(folder)) == (1, "run 1")
    assert read(await store.derive(version, "index", build, force=True)) == "run 2"
    assert await store.derive(version, "other", build) != folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "sub" / "data.bin").write_text("run X"),
        lambda folder: (folder / "sub" / "data.bin").unlink(),
        lambda folder: (folder / DERIVED_NAME).unlink(),
        lambda folder: (folder / DERIVED_NAME).write_text("{"),
        lambda folder: (folder / DERIVED_NAME).write_text('{"files": 3}'),
        lambda folder: (folder / DERIVED_NAME).write_text(
            json.dumps({"files": [{"path": "../x", "size_bytes": 1, "sha256": DIGEST}]})
        ),
    ],
)
def test_damaged_data_is_built_again(tmp_path, damage):
    build = Builder()
    folder = derive(tmp_path, DIGEST, "index", build)
    damage(folder)
    assert not is_intact(folder)
    assert read(derive(tmp_path, DIGEST, "index", build)) == "run 2"
    assert is_intact(folder)


@pytest.mark.parametrize("force", [False, True])
def test_builders_at_the_same_time_never_mix(tmp_path, force):
    build, gate = Builder(), threading.Barrier(6)

    def work(_):
        gate.wait()
        folder = derive(tmp_path, DIGEST, "index", build, force)
        return folder

    with ThreadPoolExecutor(6) as threads:
        folders = set(threads.map(work, range(6)))
    assert len(folders) == 1
    assert is_intact(folders.pop())
    assert build.runs == (6 if force else 1)
    assert list((tmp_path / ".staging").iterdir()) == []


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        derive(tmp_path, DIGEST, "index", fail)
    assert not derived_folder(tmp_path, DIGEST, "index").exists()
    assert list((tmp_path / ".staging").iterdir()) == []
    kept = derive(tmp_path, DIGEST, "index", Builder())
    with pytest.raises(RuntimeError, match="broken"):
        derive(tmp_path, DIGEST, "index", fail, force=True)
    assert is_intact(kept)


def test_what_was_made_at_set_up_is_used_where_it_is_intact(tmp_path):
    build, cache, shipped = Builder(), tmp_path / "cache", tmp_path / "shipped"
    made = derive(shipped, DIGEST, "index", build)
    assert derive(cache, DIGEST, "index", build, kept=(shipped,)) == made
    (made / "sub" / "data.bin").write_text("damaged")
    own = derive(cache, DIGEST, "index", build, kept=(shipped,))
    assert own == derived_folder(cache, DIGEST, "index")
    assert build.runs == 2


def test_facts_stand_beside_the_data(tmp_path):
    assert facts_of(derive(tmp_path, DIGEST, "index", Builder())) == {"rows": 3}
