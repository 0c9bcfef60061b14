"""Layers on disk and the store over them: publishing, races, crashes, aliases, what a layer shows."""

import asyncio
import errno
import json
import multiprocessing
import os
import shutil
import time

import pytest

from services.common.errors import Code, Reason, ServiceError
from services.common.store import Kind, open_store
from services.common.store import disk as disk_module
from services.common.store.disk import DiskLayer, staging
from tests.unit.common.store_parts import disk_store, manifest_of, publish, refused, ship, write_files

SPAWN = multiprocessing.get_context("spawn")


async def test_published_resolved_fetched(tmp_path):
    store = disk_store(tmp_path)
    made = await publish(store, tmp_path, license="MIT")
    found = await store.resolve("toy")
    assert found == made
    assert (found.layer, str(found), found.manifest.license) == ("user", "toy:1", "MIT")
    folder = await store.fetch(found)
    assert json.loads((folder / "tokenizer.json").read_text()) == {"seed": 0}


async def test_a_bare_name_is_production_else_the_newest(tmp_path):
    store = disk_store(tmp_path)
    for version in ("9", "10", "1"):
        await publish(store, tmp_path, version=version)
    assert (await store.resolve("toy")).version == "10"
    await store.set_alias("toy", "production", "9")
    assert (await store.resolve("toy")).version == "9"
    assert (await store.resolve("toy@production")).aliases == ("production",)
    assert (await store.resolve("toy:1")).version == "1"
    assert [v.version for v in await store.list_versions()] == ["1", "9", "10"]


async def test_what_is_not_there_is_not_found_with_close_names(tmp_path):
    store = disk_store(tmp_path)
    await publish(store, tmp_path)
    for reference, close in [("toi", "toy"), ("toy:2", "toy:1"), ("toy@none", "known models")]:
        with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, reference, close):
            await store.resolve(reference)


async def test_listing_by_kind_and_past_a_damaged_manifest(tmp_path):
    store = disk_store(tmp_path)
    await publish(store, tmp_path, "a", kind=Kind.GAN)
    await publish(store, tmp_path, "b")
    await publish(store, tmp_path, "c")
    shutil.copytree(tmp_path / "user" / "b" / "1", tmp_path / "user" / "c" / "2")
    (tmp_path / "user" / "No Name" / "1").mkdir(parents=True)
    (tmp_path / "user" / "No Name" / "1" / "model.json").write_text("{}")
    assert [str(v) for v in await store.list_versions()] == ["a:1", "b:1", "c:1"]
    assert [str(v) for v in await store.list_versions(Kind.GAN)] == ["a:1"]
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "c/2/model.json", "b:1"):
        await store.resolve("c:2")


async def test_the_same_content_again_is_success_other_content_is_not(tmp_path):
    store = disk_store(tmp_path)
    made = await publish(store, tmp_path)
    again = await publish(store, tmp_path, created="2020-01-01T00:00:00Z")
    assert again.digest == made.digest
    with refused(Code.ALREADY_EXISTS, Reason.VERSION_EXISTS, "toy:1"):
        await publish(store, tmp_path, seed=1)
    assert await store.resolve("toy:1") == made


async def test_a_version_of_the_shipped_layer_cannot_be_published_over(tmp_path):
    ship(tmp_path)
    store = disk_store(tmp_path)
    with refused(Code.ALREADY_EXISTS, Reason.VERSION_EXISTS):
        await publish(store, tmp_path, seed=1)
    assert (await publish(store, tmp_path)).layer == "shipped"
    assert not (tmp_path / "user").exists()


@pytest.mark.parametrize(
    ("name", "version"), [("../x", "1"), ("x", ".."), ("X", "1"), ("x", "a/b"), ("hf:x", "1")]
)
async def test_bad_names_are_not_published(tmp_path, name, version):
    with pytest.raises(ServiceError) as caught:
        await publish(disk_store(tmp_path), tmp_path, name.replace("/", "."), version)
    assert caught.value.code is Code.INVALID_ARGUMENT


async def test_files_that_differ_from_the_manifest_are_not_published(tmp_path):
    store = disk_store(tmp_path)
    folder = write_files(tmp_path / "made")
    manifest = manifest_of(folder)
    (folder / "tokenizer.json").write_text("{}")
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "tokenizer.json"):
        await store.publish(folder, manifest)
    assert await store.list_versions() == []


async def test_without_a_writable_layer_nothing_is_written(tmp_path):
    ship(tmp_path)
    store = disk_store(tmp_path)
    store._layers.all = store._layers.all[:1]
    with refused(Code.FAILED_PRECONDITION, Reason.READ_ONLY_STORE):
        await publish(store, tmp_path, "other")
    with refused(Code.FAILED_PRECONDITION, Reason.READ_ONLY_STORE):
        await store.set_alias("toy", "production", "1")


async def test_an_alias_cannot_move_where_the_layer_is_mounted_read_only(tmp_path, monkeypatch):
    await publish(store := disk_store(tmp_path), tmp_path)

    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("services.common.store.disk.locked", read_only)
    with refused(Code.FAILED_PRECONDITION, Reason.READ_ONLY_STORE, "user layer"):
        await store.set_alias("toy", "production", "1")


def _publish_in_process(root, seed, gate, results):
    folder = write_files(root / "made" / str(seed), seed)
    manifest = manifest_of(folder)
    layer = DiskLayer(root / "user", "user", writable=True)
    gate.wait()
    try:
        layer.publish(folder, manifest)
        results.put((seed, "won"))
    except ServiceError as error:
        results.put((seed, error.reason.value))


def _set_alias_in_process(root, version, gate, results):
    layer = DiskLayer(root / "user", "user", writable=True)
    gate.wait()
    try:
        layer.set_alias("toy", "production", version, "1")
        results.put((version, "won"))
    except ServiceError as error:
        results.put((version, error.reason.value))


def race(target, root, values):
    """Run ``target`` in a process for each value, all let go at once; value to outcome."""
    gate, results = SPAWN.Barrier(len(values)), SPAWN.Queue()
    processes = [SPAWN.Process(target=target, args=(root, value, gate, results)) for value in values]
    for process in processes:
        process.start()
    outcomes = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
        process.close()
    results.close()
    results.join_thread()
    return outcomes


async def test_of_two_processes_that_publish_one_version_exactly_one_wins(tmp_path):
    outcomes = race(_publish_in_process, tmp_path, [1, 2])
    assert sorted(outcomes.values()) == ["VERSION_EXISTS", "won"]
    store = disk_store(tmp_path)
    folder = await store.fetch(await store.resolve("toy:1"))
    winner = next(seed for seed, outcome in outcomes.items() if outcome == "won")
    assert json.loads((folder / "tokenizer.json").read_text()) == {"seed": winner}
    assert list((tmp_path / "user" / ".staging").iterdir()) == []


async def test_of_two_processes_that_move_one_alias_exactly_one_wins(tmp_path):
    store = disk_store(tmp_path)
    for version in ("1", "2", "3"):
        await publish(store, tmp_path, version=version)
    await store.set_alias("toy", "production", "1")
    outcomes = race(_set_alias_in_process, tmp_path, ["2", "3"])
    assert sorted(outcomes.values()) == ["ALIAS_CONFLICT", "won"]
    assert outcomes[(await store.resolve("toy")).version] == "won"


async def test_of_many_that_expect_the_same_exactly_one_moves_the_alias(tmp_path):
    store = disk_store(tmp_path)
    versions = [str(number) for number in range(1, 11)]
    for version in versions:
        await publish(store, tmp_path, version=version)
    for expected in ("", None):
        before = (await store.resolve("toy@production")).version if expected is None else ""
        moves = [store.set_alias("toy", "production", v, before) for v in versions if v != before]
        outcomes = await asyncio.gather(*moves, return_exceptions=True)
        assert [o for o in outcomes if not isinstance(o, ServiceError)] == [before]
        assert {o.code for o in outcomes if isinstance(o, ServiceError)} == {Code.ABORTED}


@pytest.mark.parametrize("step", ["_copy", "_write", "move_in"])
async def test_a_crash_at_any_step_leaves_nothing_visible(tmp_path, monkeypatch, step):
    store = disk_store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(disk_module, step, lambda *_: (_ for _ in ()).throw(OSError(28, "no space left")))
        with pytest.raises(OSError, match="no space"):
            await publish(store, tmp_path)
    assert await store.list_versions() == []
    assert list((tmp_path / "user" / ".staging").iterdir()) == []
    assert (await publish(store, tmp_path)).version == "1"


async def test_a_killed_writer_leaves_nothing_visible(tmp_path):
    store = disk_store(tmp_path)
    shutil.copytree(write_files(tmp_path / "made"), tmp_path / "user" / ".staging" / "1234" / "1")
    (tmp_path / "user" / ".staging" / "1234" / "1" / "model.json").write_text("{}")
    (tmp_path / "user" / "toy").mkdir()
    (tmp_path / "user" / "toy" / ".alias").write_text("half")
    assert await store.list_versions() == []
    await publish(store, tmp_path)
    await store.set_alias("toy", "a", "1")
    assert (await store.resolve("toy@a")).aliases == ("a",)


async def test_a_folder_without_a_manifest_is_not_written_over(tmp_path):
    write_files(tmp_path / "user" / "toy" / "1", 5)
    with refused(Code.ALREADY_EXISTS, Reason.VERSION_EXISTS):
        await publish(disk_store(tmp_path), tmp_path)


async def test_the_users_alias_goes_over_the_shipped_one(tmp_path):
    for version in ("1", "2", "3"):
        ship(tmp_path, version=version)
    DiskLayer(tmp_path / "shipped", "shipped", writable=True).set_alias("toy", "production", "1", None)
    store = disk_store(tmp_path)
    for wrong in ("2", ""):
        with refused(Code.ABORTED, Reason.ALIAS_CONFLICT, "points at 1"):
            await store.set_alias("toy", "production", "3", wrong)
    assert await store.set_alias("toy", "production", "2", "1") == "1"
    assert (await store.resolve("toy")).version == "2"
    assert await store.set_alias("toy", "production", "", "2") == "2"
    assert (await store.resolve("toy")).version == "3"
    with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND):
        await store.resolve("toy@production")
    assert await store.set_alias("toy", "production", "1", "") == ""
    assert (await store.resolve("toy")).version == "1"
    assert json.loads((tmp_path / "shipped" / "toy" / "@production").read_text()) == {"version": "1"}


async def test_aliases_name_versions_that_exist(tmp_path):
    store = disk_store(tmp_path)
    await publish(store, tmp_path)
    with refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "version", "'2'"):
        await store.set_alias("toy", "a", "2")
    with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND):
        await store.set_alias("other", "a", "1")
    with refused(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "alias"):
        await store.set_alias("toy", "A", "1")
    with refused(Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH, "name"):
        await store.set_alias("../toy", "a", "1")


@pytest.mark.parametrize("content", ["", "{}", "[]", "1", '"1"'])
async def test_a_damaged_alias_is_named_and_stops_no_watcher(tmp_path, content):
    store = disk_store(tmp_path)
    await publish(store, tmp_path)
    (tmp_path / "user" / "toy" / "@a").write_text(content)
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "toy/@a"):
        await store.resolve("toy")
    changes = store.watch()
    following = asyncio.create_task(anext(changes))
    await asyncio.sleep(0.1)
    (tmp_path / "user" / "toy" / "@a").write_text('{"version": "1"}')
    assert (await following).name == "toy"
    await changes.aclose()


async def test_watching_tells_of_versions_and_aliases_whoever_made_them(tmp_path):
    store, other = disk_store(tmp_path), disk_store(tmp_path)
    await publish(store, tmp_path, "first")
    changes = store.watch()
    assert (await anext(changes)).name == "first"
    await publish(other, tmp_path, "second")
    assert (await anext(changes)).name == "second"
    await other.set_alias("first", "production", "1")
    assert (await anext(changes)).name == "first"
    await other.set_alias("first", "production", "")
    assert (await anext(changes)).name == "first"
    await changes.aclose()


async def test_the_usual_store_has_two_layers(tmp_path):
    ship(tmp_path)
    store = open_store(tmp_path / "shipped", str(tmp_path / "user"), tmp_path / "cache")
    await publish(store, tmp_path, "mine")
    assert [(v.name, v.layer) for v in await store.list_versions()] == [("mine", "user"), ("toy", "shipped")]


async def test_a_folder_that_goes_away_takes_no_model_with_it(tmp_path):
    store = disk_store(tmp_path)
    await publish(store, tmp_path)
    assert await store.resolve("toy")
    (tmp_path / "user").rename(tmp_path / "unmounted")
    with refused(Code.UNAVAILABLE, Reason.STORE_UNREACHABLE):
        await store.resolve("toy")
    (tmp_path / "unmounted").rename(tmp_path / "user")
    assert (await store.resolve("toy")).version == "1"


def test_only_what_was_left_long_ago_is_cleared_whatever_the_clock_says(tmp_path, monkeypatch):
    two_days = 2 * 24 * 3600
    abandoned = tmp_path / ".staging" / "abandoned"
    abandoned.mkdir(parents=True)
    long_ago = abandoned.stat().st_mtime - two_days
    os.utime(abandoned, (long_ago, long_ago))
    jumped = time.time() + two_days
    with staging(tmp_path) as others:
        assert not abandoned.exists()
        monkeypatch.setattr(time, "time", lambda: jumped)
        with staging(tmp_path):
            assert others.is_dir()
