"""Garbage of a store, on disk and behind a real S3 protocol: what stays, what goes, in which steps."""

import json
import os
import time

import obstore
import pytest
from prometheus_client import start_http_server

from services.common.errors import Code, Reason
from services.common.metrics import Metrics
from services.common.store import ModelStore
from services.common.store.cache import IN_USE_SECONDS, trim
from services.common.store.disk import DiskLayer
from services.common.store.garbage.bins import REMOVED
from services.common.store.garbage.exports import ExportGarbage
from services.common.store.garbage.leftovers import LeftoverGarbage
from services.common.store.garbage.opening import bin_of
from services.common.store.garbage.versions import Rules, VersionGarbage
from services.common.store.objects import ObjectLayer, manifest_key
from services.common.upkeep.collecting import Outcome, collect
from services.common.upkeep.errors import UpkeepError
from services.common.upkeep.loaded import loaded
from tests.unit.common.store_parts import manifest_of, publish, refused, write_files
from tests.unit.finetune.object_store import BUCKET, serving_s3

DAY = 86400.0


class Place:
    """A store whose user's layer is in a folder or in a bucket."""

    def __init__(self, layer, tmp_path):
        shipped = DiskLayer(tmp_path / "shipped", "shipped", writable=False)
        self.layer, self.tmp_path = layer, tmp_path
        self.layers = (shipped, layer)
        self.store = ModelStore(self.layers, tmp_path / "cache", poll_seconds=0.02)
        self.needs = {}
        self.looks = 0

    def garbage(self, grace=0.0, keep_last=1):
        return VersionGarbage(self.layers, bin_of(self.layer), self._needed, Rules(keep_last, grace))

    def run(self, delete=True, **rules):
        found = collect([self.garbage(**rules)], delete, pytest.fail)
        return {item.what: outcome for item, outcome in found.items}

    def versions(self):
        return {f"{name}:{each}" for name, found in self.layer.versions().items() for each in found}

    async def publish(self, version, **fields):
        await publish(self.store, self.tmp_path, version=version, seed=int(version), **fields)

    def _needed(self):
        self.looks += 1
        return self.needs


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path, monkeypatch):
    if request.param == "disk":
        yield Place(DiskLayer(tmp_path / "user", "user", writable=True), tmp_path)
        return
    with serving_s3(monkeypatch):
        yield Place(ObjectLayer(f"s3://{BUCKET}/models", "user", tmp_path / "cache"), tmp_path)


async def test_what_anybody_names_stays_and_the_rest_goes_whole(place):
    for version in "12345":
        await place.publish(version)
    await place.publish("9", name="child", config={"lineage": {"base": "toy:3"}}, parent="toy:2")
    await place.store.set_alias("toy", "old", "1")
    place.needs = {("toy", "4"): "a job starts from it"}
    await place.publish("6")
    # 1 by its alias, 2 and 3 by the child, 4 by the job, 6 is the newest.
    assert place.run() == {"toy:5": Outcome.REMOVED}
    assert place.versions() == {"child:9", *(f"toy:{each}" for each in "12346")}
    assert place.run() == {}
    left = [str(path) for path in everything(place) if "toy/5" in str(path)]
    assert left == []


async def test_a_dry_run_changes_nothing(place):
    await place.publish("1")
    await place.publish("2")
    before = everything(place)
    assert place.run(delete=False) == {"toy:1": Outcome.WOULD_GO}
    assert everything(place) == before


async def test_the_grace_begins_when_a_version_is_first_seen_unneeded(place):
    await place.publish("1")
    await place.publish("2")
    assert place.run(grace=DAY) == {"toy:1": Outcome.WAITS}
    assert place.run(grace=DAY) == {"toy:1": Outcome.WAITS}
    # Needed in between: it begins anew.
    await place.store.set_alias("toy", "back", "1")
    assert place.run(grace=0) == {}
    assert not bin_of(place.layer).marks()
    await place.store.set_alias("toy", "back", "")
    assert place.run(grace=DAY) == {"toy:1": Outcome.WAITS}
    assert place.run(grace=0) == {"toy:1": Outcome.REMOVED}
    assert not bin_of(place.layer).marks()


async def test_what_is_needed_at_the_last_moment_comes_back(place):
    await place.publish("1")
    await place.publish("2")
    garbage = place.garbage()
    due = garbage.find(True)
    place.needs = {("toy", "1"): "a job was created meanwhile"}
    assert list(garbage.remove(due)) == [False]
    assert place.versions() == {"toy:1", "toy:2"}
    await place.store.fetch(await place.store.resolve("toy:1"))


async def test_an_alias_that_moves_to_a_hidden_version_moves_back(place):
    for version in "123":
        await place.publish(version)
    await place.store.set_alias("toy", "production", "2")
    versions = place.layer.versions()
    assert bin_of(place.layer).hide(("toy", "1"))
    place.layer.versions = lambda: versions  # as it was listed just before
    with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "toy:1"):
        await place.store.set_alias("toy", "production", "1")
    assert place.layer.aliases("toy") == {"production": "2"}


@pytest.mark.parametrize("is_needed", [False, True])
async def test_a_run_that_broke_off_is_ended_by_the_next(place, is_needed):
    await place.publish("1")
    await place.publish("2")
    assert bin_of(place.layer).hide(("toy", "1"))
    assert place.versions() == {"toy:2"}
    place.needs = {("toy", "1"): "needed"} if is_needed else {}
    assert place.run() == {}
    assert place.versions() == ({"toy:1", "toy:2"} if is_needed else {"toy:2"})
    assert not bin_of(place.layer).hidden()


async def test_who_cannot_be_asked_stops_it_before_anything_goes(place):
    await place.publish("1")
    await place.publish("2")
    garbage = place.garbage()
    due = garbage.find(True)

    def away():
        raise UpkeepError("a service does not answer")

    garbage._needs = away
    with pytest.raises(UpkeepError, match="does not answer"):
        list(garbage.remove(due))
    assert place.versions() == {"toy:1", "toy:2"}


async def test_two_collections_do_not_run_at_once(place):
    with (
        bin_of(place.layer).alone(),
        pytest.raises(UpkeepError, match="another collection is under way"),
        bin_of(place.layer).alone(),
    ):
        pass
    with bin_of(place.layer).alone():
        pass


async def test_what_a_broken_writer_left_goes_once_it_is_quiet(place):
    await place.publish("1")
    leave_behind(place)
    assert outcomes(place, seconds=DAY) == [Outcome.WAITS]
    assert outcomes(place, seconds=0) == [Outcome.REMOVED]
    assert outcomes(place, seconds=0) == []
    await place.store.fetch(await place.store.resolve("toy:1"))


async def test_a_version_published_over_its_own_leftovers_is_whole(tmp_path, monkeypatch):
    """Its publisher waits for the collection that saw no manifest, and puts back what that deleted."""
    with serving_s3(monkeypatch):
        place = Place(ObjectLayer(f"s3://{BUCKET}/models", "user", tmp_path / "cache"), tmp_path)
        folder = write_files(tmp_path / "made", 7)
        manifest = manifest_of(folder)
        bin, objects = bin_of(place.layer), place.layer.objects
        for entry in manifest.files:
            place.layer._upload(folder, manifest, entry)
        obstore.put(objects, f"{REMOVED}/toy/1", b"")  # as a collection writes it, before it looks
        put = obstore.put

        def publish_then_collect(store, path, *rest, **options):
            result = put(store, path, *rest, **options)
            if path == manifest_key("toy", "1"):
                keys = [
                    each["path"] for batch in obstore.list(objects, prefix="toy/1/files") for each in batch
                ]
                obstore.delete(objects, keys)
                bin._delete(f"{REMOVED}/toy/1")
            return result

        monkeypatch.setattr(obstore, "put", publish_then_collect)
        await place.store.publish(folder, manifest)
        await place.store.fetch(await place.store.resolve("toy:1"))


async def test_exports_go_with_their_version_and_others_stay(tmp_path):
    place = Place(DiskLayer(tmp_path / "user", "user", writable=True), tmp_path)
    await place.publish("1")
    await place.publish("2")
    first, second = [await place.store.resolve(f"toy:{each}") for each in "12"]
    for version in (first, second):
        await place.store.derive(version, "onnx", build)
    hub = tmp_path / "cache/exports/abc/onnx"
    hub.mkdir(parents=True)
    (hub / "derived.json").write_text(json.dumps({"of": "hf:some/model:1234", "facts": {}, "files": []}))
    assert place.run() == {"toy:1": Outcome.REMOVED}
    garbage = ExportGarbage(place.layers, tmp_path / "cache", 0.0)
    found = collect([garbage], True, pytest.fail)
    assert [(item.what.split()[0], outcome) for item, outcome in found.items] == [("toy:1", Outcome.REMOVED)]
    assert {path.name for path in (tmp_path / "cache/exports").iterdir()} == {second.digest, "abc"}


def test_the_cache_keeps_to_its_limit_and_the_least_recently_used_leaves(tmp_path):
    now = time.time()
    for place, name in enumerate(("objects/a", "hub/models--b", "exports/c", "objects/d")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 100)
        at = now - 10 * IN_USE_SECONDS + place
        os.utime(folder, (at, at))
    assert trim(tmp_path, 0) == 0
    os.utime(tmp_path / "objects/a")  # used just now
    assert trim(tmp_path, 250) == 200
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*") if path.is_dir()}
    assert left == {"objects/a", "objects/d"}
    # What is in use stays, whatever the limit.
    assert trim(tmp_path, 1) == 100
    assert (tmp_path / "objects/a/file").exists()


async def test_a_store_trims_its_cache_when_it_fetches(tmp_path):
    (tmp_path / "far").mkdir()
    far = ObjectLayer((tmp_path / "far").as_uri(), "user", tmp_path / "cache")
    store = ModelStore([far], tmp_path / "cache", cache_bytes=1)
    folders = []
    for seed in (1, 2):
        await publish(store, tmp_path, version=str(seed), seed=seed)
        folders.append(await store.fetch(await store.resolve(f"toy:{seed}")))
        at = time.time() - 2 * IN_USE_SECONDS
        os.utime(folders[-1], (at, at))
        before = folders[-1]
    await store.fetch(await store.resolve("toy:1"))
    assert folders[0].exists()
    assert not before.exists()


def test_a_service_that_does_not_answer_is_named():
    with pytest.raises(UpkeepError, match=r"127\.0\.0\.1:1 does not say"):
        loaded(["127.0.0.1:1"])


async def test_what_a_service_has_in_memory_stays(tmp_path):
    """As its own metrics say, once it has let go of another version."""
    place = Place(DiskLayer(tmp_path / "user", "user", writable=True), tmp_path)
    for version in "123":
        await place.publish(version)
    metrics = Metrics("sampler")
    metrics.model_loaded.labels("toy", "1").set(1)
    metrics.model_loaded.labels("toy", "2").set(0)
    server, thread = start_http_server(0, "127.0.0.1", metrics.registry)
    try:
        place.needs = loaded([f"127.0.0.1:{server.server_port}"])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert list(place.needs) == [("toy", "1")]
    assert place.run() == {"toy:2": Outcome.REMOVED}


def build(folder):
    (folder / "graph.onnx").write_bytes(b"graph")
    return {}


def outcomes(place, seconds):
    found = collect([LeftoverGarbage(bin_of(place.layer), seconds)], True, pytest.fail)
    return [outcome for _, outcome in found.items]


def leave_behind(place):
    """What a publisher leaves that is killed before it has put the manifest."""
    if isinstance(place.layer, DiskLayer):
        write_files(place.layer.root / ".staging/broken", 5)
        return
    folder = write_files(place.tmp_path / "broken", 5)
    manifest = manifest_of(folder, "half", "1")
    for entry in manifest.files:
        place.layer._upload(folder, manifest, entry)


def everything(place):
    """Every file or object of the user's layer."""
    if isinstance(place.layer, DiskLayer):
        return {str(path) for path in place.layer.root.rglob("*")}
    return {str(each["path"]) for batch in obstore.list(place.layer.objects) for each in batch}
