"""The object layer against a real S3 protocol server (moto): publish, fetch, aliases, an absence."""

import asyncio
import errno
import hashlib
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from services.common.errors import Code, Reason
from services.common.store import ModelStore
from services.common.store.disk import DiskLayer
from services.common.store.objects import ObjectLayer
from tests.ports import lasting_ports
from tests.unit.common.store_parts import manifest_of, publish, refused, ship, write_files

BUCKET = "models"


class S3:
    """A moto server that can go away and come back on the same port."""

    def __init__(self):
        [self.port] = lasting_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = None

    def start(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()

    def stop(self):
        if self.server is not None:
            self.server.stop()
            self.server = None


@pytest.fixture
def s3(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    running = S3()
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    running.start()
    # moto keeps its buckets for the life of this process.
    reset = urllib.request.Request(f"{running.url}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=10).close()
    client = boto3.client("s3", endpoint_url=running.url)
    client.create_bucket(Bucket=BUCKET)
    running.client = client
    yield running
    client.close()
    running.stop()


def store_of(tmp_path, cache="cache") -> ModelStore:
    layers = [
        DiskLayer(tmp_path / "shipped", "shipped", writable=False),
        ObjectLayer(f"s3://{BUCKET}/store", "user", tmp_path / cache),
    ]
    return ModelStore(layers, tmp_path / cache, poll_seconds=0.02)


async def test_published_by_one_replica_fetched_by_another(tmp_path, s3):
    made = await publish(store_of(tmp_path), tmp_path, seed=3)
    other = store_of(tmp_path, "another-cache")
    version = await other.resolve("toy")
    assert version.digest == made.digest
    steps = []
    folder = await other.fetch(version, lambda done, total, message: steps.append((done, total)))
    assert manifest_of(folder).files == made.manifest.files
    assert steps[-1] == (made.manifest.size_bytes, made.manifest.size_bytes)
    keys = [each["Key"] for each in s3.client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert "store/toy/1/model.json" in keys


async def test_a_version_never_changes(tmp_path, s3):
    store = store_of(tmp_path)
    await publish(store, tmp_path, seed=1)
    await publish(store, tmp_path, seed=1)
    with refused(Code.ALREADY_EXISTS, Reason.VERSION_EXISTS, "toy:1"):
        await publish(store, tmp_path, seed=2)
    assert (await store.fetch(await store.resolve("toy"))).is_dir()


async def test_of_many_racing_writers_one_wins_and_its_files_are_whole(tmp_path, s3):
    stores = [store_of(tmp_path, f"cache{n}") for n in range(4)]
    writers = [publish(store, tmp_path, seed=n) for n, store in enumerate(stores)]
    ends = await asyncio.gather(*writers, return_exceptions=True)
    winners = [end for end in ends if not isinstance(end, BaseException)]
    assert len(winners) == 1
    reader = store_of(tmp_path, "fresh")
    version = await reader.resolve("toy:1")
    assert version.digest == winners[0].digest
    assert manifest_of(await reader.fetch(version)).files == winners[0].manifest.files


async def test_an_alias_moves_only_from_where_it_is_expected(tmp_path, s3):
    store = store_of(tmp_path)
    for number in ("1", "2"):
        await publish(store, tmp_path, version=number, seed=int(number))
    assert await store.set_alias("toy", "production", "1", expected="") == ""
    assert (await store.resolve("toy")).version == "1"
    with refused(Code.ABORTED, Reason.ALIAS_CONFLICT, "points at 1"):
        await store.set_alias("toy", "production", "2", expected="2")
    movers = [store_of(tmp_path).set_alias("toy", "production", "2", expected="1") for _ in range(4)]
    ends = await asyncio.gather(*movers, return_exceptions=True)
    assert sum(not isinstance(end, BaseException) for end in ends) == 1
    assert (await store_of(tmp_path).resolve("toy@production")).version == "2"
    await store.set_alias("toy", "production", "")
    assert (await store.resolve("toy")).version == "2", "without the alias, the newest"


async def test_what_the_store_holds_is_checked_on_the_way(tmp_path, s3):
    store = store_of(tmp_path)
    made = await publish(store, tmp_path)
    entry = next(e for e in made.manifest.files if e.path == "weights.safetensors")
    key = f"store/toy/1/files/{entry.sha256}/{entry.path}"
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=b"x" * entry.size_bytes)
    found = hashlib.sha256(b"x" * entry.size_bytes).hexdigest()
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, entry.path, found[:16], entry.sha256[:16]):
        await store.fetch(made)
    assert not list((tmp_path / "cache" / "objects").glob("[!.]*")), "nothing half-fetched is kept"


async def test_a_copy_in_the_cache_that_is_damaged_is_fetched_anew(tmp_path, s3, caplog):
    store = store_of(tmp_path)
    made = await publish(store, tmp_path, seed=3)
    weights = await store.fetch(made) / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"?")
    assert (await store.fetch(made) / "weights.safetensors").read_bytes() == whole
    [told] = [record.error for record in caplog.records if record.message == "fetched anew"]
    assert "weights.safetensors: its sha256 is" in told
    weights.write_bytes(b"")
    s3.stop()
    with refused(Code.UNAVAILABLE, Reason.STORE_UNREACHABLE, "user"):
        await store.fetch(made)


async def test_a_cache_without_room_is_told_as_one_and_may_be_tried_again(tmp_path, s3, monkeypatch):
    store = store_of(tmp_path)
    made = await publish(store, tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("services.common.store.objects.ObjectLayer._download", full)
        with refused(Code.RESOURCE_EXHAUSTED, Reason.DISK_FULL, "toy:1"):
            await store.fetch(made)
    assert (await store.fetch(made)).is_dir()


async def test_while_the_bucket_is_away_the_rest_goes_on(tmp_path, s3):
    ship(tmp_path, "shipped-one")
    store = store_of(tmp_path)
    version = await publish(store, tmp_path)
    await store.fetch(version)
    await store.list_versions()
    s3.stop()
    names = {each.name for each in await store.list_versions()}
    assert names == {"shipped-one", "toy"}
    assert (await store.resolve("shipped-one")).layer == "shipped"
    assert (await store.fetch(version)).is_dir(), "from the cache"
    write_files(tmp_path / "made" / "late")
    with refused(Code.UNAVAILABLE, Reason.STORE_UNREACHABLE, "user") as caught:
        await publish(store, tmp_path, version="9", seed=9)
    assert "127.0.0.1" not in caught.value.message
    assert "127.0.0.1" in str(caught.value)
