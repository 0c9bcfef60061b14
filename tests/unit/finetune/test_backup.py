"""A platform's databases, models, data sets and files, copied while they are used, and put back elsewhere."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import threading

import pytest
from sqlalchemy import func, insert, select, text, update
from typer.testing import CliRunner

from gateway.cli.app import build
from gateway.database import SCHEMA as GATEWAY
from gateway.usage.store import USAGE
from services.common.database.clock import now
from services.common.database.database import Database
from services.common.database.engines import make_engine
from services.common.database.migrate import tables_of, upgrade
from services.common.store.disk import DiskLayer
from services.common.store.objects import ObjectLayer
from services.common.upkeep.backup.archive import Archive
from services.common.upkeep.backup.databases import Place, load_database, save_database
from services.common.upkeep.backup.restoring import restore, verify
from services.common.upkeep.backup.saving import save
from services.common.upkeep.errors import UpkeepError
from services.finetune.database.schema import BLOBS, DATASET_FILES, JOBS, METADATA
from services.finetune.database.settings import SCHEMA, open_database
from services.finetune.datasets.dataset import BadFiles, Kind, Options, State
from services.finetune.datasets.records import DatasetRecords, insert_dataset
from services.finetune.datasets.storage.content import open_content
from services.finetune.jobs.job import Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.upkeep.opening import kept
from tests.unit.common.store_parts import manifest_of, write_files
from tests.unit.finetune.object_store import BUCKET, serving_s3

WORDS = b"Call me Ishmael."


class Site:
    """What a platform keeps, under one folder; the database and the store may be elsewhere."""

    def __init__(self, folder, url="", store="", datasets=""):
        folder.mkdir(exist_ok=True)
        self.folder, self.url = folder, url or f"sqlite:///{folder}/finetune.db"
        self.environ = {
            "PEQUOD_DATABASE_URL": self.url,
            "PEQUOD_GATEWAY_DATABASE_URL": f"sqlite:///{folder}/gateway.db",
            "PEQUOD_DATASETS": datasets or f"{folder}/datasets",
            "PEQUOD_FINETUNE_WORK": f"{folder}/work",
            "PEQUOD_STORE": store or f"{folder}/models",
            "PEQUOD_CACHE": f"{folder}/cache",
            "PEQUOD_MODELS": f"{folder}/shipped",
            "PEQUOD_KEYS_FILE": f"{folder}/keys/keys.json",
            "PEQUOD_KEYS_SECRET_FILE": f"{folder}/keys/secret",
            "PEQUOD_AUDIT_FILE": f"{folder}/keys/audit.jsonl",
        }
        self.layer = ObjectLayer(store, "user", folder / "cache") if store else None
        self.layer = self.layer or DiskLayer(folder / "models", "user", writable=True)
        shipped = write_files(folder / "made-words")
        DiskLayer(folder / "shipped", "shipped", writable=True).publish(
            shipped, manifest_of(shipped, "words", "4")
        )
        self.content = open_content(self.environ["PEQUOD_DATASETS"], folder / "cache")

    def parts(self):
        return kept(self.environ)

    def fill(self):
        """A data set, a job with a checkpoint, two versions under an alias."""
        database = open_database(self.url)
        self.dataset_id = add_dataset(database, self.content, self.folder, WORDS)
        spec = Spec("ngram", dataset_id=self.dataset_id, labels={"book": "Mobý Dick"})
        self.job = JobRecords(database).create("acme", spec)[0]
        database.write(lambda c: c.execute(update(JOBS).values(metrics={"loss": 0.1}, started_at=now())))
        self.job = JobRecords(database).get("acme", self.job.job_id)
        database.close()
        job = self.folder / "work/jobs/acme" / self.job.job_id
        write_files(job / "work/candidates/000010")
        write_files(job / "data")
        for version in "12":
            made = write_files(self.folder / f"made-{version}", int(version))
            self.layer.publish(made, manifest_of(made, "mine", version, tenant="acme"))
        self.layer.set_alias("mine", "production", "1", None)
        self.layer.set_alias("mine", "gone", "", None)
        # An alias of one's own for a model that is shipped, and nothing else of it.
        self.layer.set_alias("words", "production", "4", None)

    def state(self):
        """Everything that a caller could ask for."""
        database = open_database(self.url)
        try:
            tables = database.read(
                lambda c: {
                    name: sorted(map(repr, c.execute(select(table))))
                    for name, table in METADATA.tables.items()
                }
            )
            _, files = DatasetRecords(database, 0).files("acme", self.dataset_id)
            data = {file.path: self.content.fetch("acme", file.sha256).read_bytes() for file in files}
        finally:
            database.close()
        models = {
            (name, version, entry.path): b"".join(self.layer.read(manifest, entry))
            for name, versions in self.layer.versions().items()
            for version in versions
            for manifest in [self.layer.manifest(name, version)]
            for entry in manifest.files
        }
        jobs = self.folder / "work/jobs"
        checkpoints = {
            str(path.relative_to(jobs)): path.read_bytes()
            for path in jobs.rglob("*")
            if path.is_file() and "/data/" not in str(path)
        }
        aliases = self.layer.aliases("mine"), self.layer.aliases("words")
        return tables, data, models, aliases, checkpoints


def add_dataset(database, content, folder, data, name="texts"):
    sha = hashlib.sha256(data).hexdigest()
    source = folder / f"source-{sha}"
    source.write_bytes(data)

    def row(connection):
        mine = {"tenant": "acme", "sha256": sha, "size_bytes": len(data)}
        connection.execute(insert(BLOBS).values(**mine, touched_at=now()))

    def held(connection):
        options = Options(name, Kind.TEXT, BadFiles.SKIP, {})
        made = insert_dataset(connection, "acme", options, State.READY, {"size_bytes": len(data)})
        mine = {"tenant": "acme", "sha256": sha, "size_bytes": len(data)}
        file = {**mine, "dataset_id": made.dataset_id, "path": "a.txt", "role": "document"}
        connection.execute(insert(DATASET_FILES).values(file))
        return made.dataset_id

    database.write(row)
    content.put("acme", sha, source)
    return database.write(held)


def copied(site, archive):
    return save(site.parts(), archive, lambda text: None)[1]


def archive_in(tmp_path, name="backup"):
    return Archive(str(tmp_path / name), is_new=True)


def there(site, like):
    site.dataset_id = like.dataset_id
    return site


@pytest.fixture
def site(database_url, tmp_path):
    made = Site(tmp_path / "here", database_url)
    made.fill()
    return made


def test_what_is_put_back_elsewhere_is_the_same_to_the_byte(site, tmp_path):
    """From either database to SQLite."""
    archive = archive_in(tmp_path)
    contents = copied(site, archive)
    other = there(Site(tmp_path / "elsewhere"), site)
    restore(contents, archive_in(tmp_path), other.parts(), False, lambda text: None)
    assert other.state() == site.state()
    assert JobRecords(open_database(other.url)).get("acme", site.job.job_id) == site.job
    assert not (other.folder / "work/jobs/acme" / site.job.job_id / "data").exists(), "it can be had again"


def test_a_copy_of_sqlite_goes_into_postgresql(site, database_url, tmp_path):
    """From SQLite, by way of a copy, into either database."""
    archive = archive_in(tmp_path)
    other = there(Site(tmp_path / "small"), site)
    restore(copied(site, archive), archive, other.parts(), False, lambda text: None)
    again = archive_in(tmp_path, "again")
    before = site.state()
    shutil.rmtree(site.folder / "models")
    shutil.rmtree(site.folder / "work")
    restore(copied(other, again), again, site.parts(), True, lambda text: None)
    assert site.state() == before


def test_object_stores_are_copied_and_hold_copies(tmp_path, monkeypatch):
    with serving_s3(monkeypatch):
        url = f"s3://{BUCKET}"
        site = Site(tmp_path / "here", store=f"{url}/models", datasets=f"{url}/datasets")
        site.fill()
        archive = Archive(f"{url}/backup")
        contents = copied(site, archive)
        assert verify(contents, Archive(f"{url}/backup")) == sum(
            piece.size_bytes for piece in {piece for _, piece in contents.pieces()}
        )
        other = there(Site(tmp_path / "elsewhere"), site)
        restore(archive.contents(), archive, other.parts(), False, lambda text: None)
        assert other.state() == site.state()


def test_the_second_copy_holds_only_what_is_new(site, tmp_path):
    archive = archive_in(tmp_path)
    first = copied(site, archive)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "backup/content").rglob("*")}
    made = write_files(site.folder / "made-3", 3)
    site.layer.publish(made, manifest_of(made, "mine", "3", tenant="acme"))
    second = copied(site, archive_in(tmp_path))
    files = {path for path in (tmp_path / "backup/content").rglob("*") if path.is_file()}
    assert all(path.stat().st_mtime_ns == before[path] for path in files & set(before))
    assert len(files - set(before)) == 3, "model.json and two files"
    assert {piece for _, piece in first.pieces()} <= {piece for _, piece in second.pieces()}
    assert [len(archive.contents(name).versions) for name in archive.names()] == [2, 3]


def test_a_copy_made_while_others_write_is_of_one_moment(site, tmp_path):
    """Every data set of the copy has its files, though more come and go all the time."""
    stop, made = threading.Event(), itertools.count()
    database = open_database(site.url)

    def write():
        while not stop.is_set():
            number = next(made)
            dataset_id = add_dataset(database, site.content, site.folder, b"%d" % number, f"n{number}")
            if number % 3 == 0:
                DatasetRecords(database, 0).delete("acme", dataset_id)
            JobRecords(database).create("acme", Spec("ngram", dataset_id=dataset_id))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [copied(site, archive_in(tmp_path)) for _ in range(3)]
    finally:
        stop.set()
        writer.join()
        database.close()
    other = Site(tmp_path / "elsewhere")
    restore(copies[-1], archive_in(tmp_path), other.parts(), False, lambda text: None)
    found = open_database(other.url)
    for dataset in DatasetRecords(found, 0).page("acme", 10_000).datasets:
        for file in DatasetRecords(found, 0).files("acme", dataset.dataset_id)[1]:
            data = other.content.fetch("acme", file.sha256).read_bytes()
            assert hashlib.sha256(data).hexdigest() == file.sha256
    count = found.read(lambda c: c.scalar(select(func.count()).select_from(JOBS)))
    assert count == next(rows.rows for rows in copies[-1].databases[0].tables if rows.table == "jobs")
    assert count >= 1
    found.close()


def test_a_file_that_is_deleted_meanwhile_begins_it_anew(site, tmp_path, monkeypatch):
    """The databases spoke of a data set that is gone by the time its bytes are copied."""
    database = open_database(site.url)
    doomed = add_dataset(database, site.content, site.folder, b"doomed")
    parts, told = site.parts(), []
    fetch = parts.blobs.blobs.fetch

    def deleted_first(tenant, sha256):
        if sha256 == hashlib.sha256(b"doomed").hexdigest():
            DatasetRecords(database, 0).delete("acme", doomed)
            site.content.remove(tenant, sha256)
        return fetch(tenant, sha256)

    monkeypatch.setattr(parts.blobs.blobs, "fetch", deleted_first)
    _, contents = save(parts, archive_in(tmp_path), told.append)
    assert [each.piece.size_bytes for each in contents.content] == [len(WORDS)]
    assert any("deleted meanwhile" in text for text in told)
    database.close()


@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_a_damaged_copy_is_refused_with_the_file_named_and_nothing_written(tmp_path, damage):
    site = Site(tmp_path / "here")
    site.fill()
    contents = copied(site, archive_in(tmp_path))
    sha = hashlib.sha256(WORDS).hexdigest()
    file = tmp_path / "backup/content" / sha[:2] / sha
    file.unlink()
    if damage != "missing":
        file.write_bytes(b"Call me Ishmaei." if damage == "changed" else b"Call")
    other = Site(tmp_path / "elsewhere")
    with pytest.raises(UpkeepError, match=rf"{sha} is (damaged|missing).*tenant acme's data sets"):
        restore(contents, archive_in(tmp_path), other.parts(), False, lambda text: None)
    assert list(other.folder.rglob("*.db")) == []
    assert other.layer.versions() == {}


def test_a_list_that_was_changed_is_refused(tmp_path):
    site = Site(tmp_path / "here")
    site.fill()
    copied(site, archive_in(tmp_path))
    (file,) = (tmp_path / "backup/backups").iterdir()
    file.write_text(file.read_text().replace("production", "pr0duction"))
    with pytest.raises(UpkeepError, match=r"backups/.*\.json is damaged"):
        archive_in(tmp_path).contents()


def test_a_source_that_is_damaged_is_named(tmp_path):
    site = Site(tmp_path / "here")
    site.fill()
    (site.folder / "models/mine/2/weights.safetensors").write_bytes(b"?")
    with pytest.raises(UpkeepError, match=r"file weights\.safetensors of mine:2 cannot be copied"):
        copied(site, archive_in(tmp_path))
    assert archive_in(tmp_path).names() == []


def test_what_is_there_stays_unless_told(site, tmp_path):
    archive = archive_in(tmp_path)
    contents = copied(site, archive)
    before = site.state()
    database = open_database(site.url)
    JobRecords(database).create("acme", Spec("ngram"))
    database.close()
    with pytest.raises(UpkeepError, match=r"holds rows already, in .*--replace"):
        restore(contents, archive, site.parts(), False, lambda text: None)
    restore(contents, archive, site.parts(), True, lambda text: None)
    assert site.state() == before


def test_a_copy_of_the_first_revision_is_upgraded_on_its_way_in(database_url, tmp_path):
    place = Place("finetune", database_url, SCHEMA)
    database = Database(make_engine(database_url))
    with database.engine.begin() as connection:
        upgrade(connection, SCHEMA, "0001")
        values = "('acme', 'aa', 3, 5)"
        connection.execute(
            text(f"INSERT INTO blobs (tenant, sha256, size_bytes, touched_at) VALUES {values}")
        )
    archive = archive_in(tmp_path)
    copy = save_database(place, archive)
    assert (copy.revision, {rows.table for rows in copy.tables}) == ("0001", set(tables_of(SCHEMA, "0001")))
    with database.engine.begin() as connection:
        connection.execute(text("DELETE FROM blobs"))
    load_database(place, copy, archive, False)
    opened = open_database(database_url)
    assert opened.read(lambda c: c.execute(select(BLOBS.c.size_bytes)).scalars().all()) == [3]
    for each in (opened, database):
        each.close()


def test_a_newer_copy_is_refused_before_anything_is_written(tmp_path):
    site = Site(tmp_path / "here")
    site.fill()
    archive = archive_in(tmp_path)
    contents = copied(site, archive)
    newer = contents.databases[0].model_copy(update={"revision": "9999"})
    other = Site(tmp_path / "elsewhere")
    later = contents.model_copy(update={"databases": (newer,)})
    with pytest.raises(UpkeepError, match="9999, which is newer than this program knows"):
        restore(later, archive, other.parts(), False, lambda text: None)
    assert other.layer.versions() == {}


def test_the_commands_copy_keys_and_usage_too(tmp_path, monkeypatch):
    site = Site(tmp_path / "here")
    site.fill()
    set_all(monkeypatch, site)
    run("keys", "create", "laptop", "--tenant", "acme")
    usage = Database.open(site.environ["PEQUOD_GATEWAY_DATABASE_URL"], GATEWAY)
    row = {column.name: 7 for column in USAGE.columns} | {"tenant": "acme", "key_name": "laptop"}
    row |= {"model": "mine", "method": "m"}
    raw = text(f"INSERT INTO usage ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})")
    usage.write(lambda connection: connection.execute(raw, row))
    usage.close()
    target = str(tmp_path / "backup")
    made = json.loads(run("backup", target, "--json").stdout)
    assert (made["versions"], made["dataset_files"]) == (2, 1)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "backup").rglob("*"))
    assert made["backup"] in run("verify", target).stdout
    other = there(Site(tmp_path / "elsewhere"), site)
    set_all(monkeypatch, other)
    run("restore", target)
    assert other.state() == site.state()
    assert json.loads(run("usage", "--json").stdout)["usage"][0]["key"] == "laptop"
    for name in ("keys.json", "secret"):
        file = other.folder / "keys" / name
        assert file.read_bytes() == (site.folder / "keys" / name).read_bytes()
        assert file.stat().st_mode & 0o077 == 0
    refused = run("restore", target, code=1)
    assert "--replace" in refused.stderr
    (tmp_path / "empty").mkdir()
    assert "has no backup" in run("verify", str(tmp_path / "empty"), code=1).stderr
    assert "is no folder" in run("verify", str(tmp_path / "misspelt"), code=1).stderr
    assert not (tmp_path / "misspelt").exists()


def set_all(monkeypatch, site):
    for name, value in site.environ.items():
        monkeypatch.setenv(name, value)


def run(*arguments, code=0):
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == code, done.output
    return done
