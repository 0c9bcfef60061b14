"""The database layer, on both databases: transactions, the clock, migrations."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from services.common.database.clock import now
from services.common.errors import Code, Reason, ServiceError
from services.common.settings import SettingsError
from services.finetune.database.schema import BLOBS, JOBS, METADATA, UPLOADS
from services.finetune.database.settings import open_database


def blob(sha256="a" * 64, size=0):
    return insert(BLOBS).values(tenant="local", sha256=sha256, size_bytes=size, touched_at=now())


def size(connection):
    return connection.scalars(select(BLOBS.c.size_bytes)).one()


def test_a_write_is_there_for_the_next_reader(database):
    database.write(lambda connection: connection.execute(blob(size=7)))
    assert database.read(size) == 7


def test_an_error_leaves_nothing_behind(database):
    def task(connection):
        connection.execute(blob())
        raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        database.write(task)
    assert database.read(lambda c: c.scalar(select(func.count()).select_from(BLOBS))) == 0


def test_readers_cannot_write(database):
    with pytest.raises(DBAPIError, match=r"read-?only"):
        database.read(lambda connection: connection.execute(blob()))
    database.write(lambda connection: connection.execute(blob()))


def test_foreign_keys_hold(database):
    orphan = insert(UPLOADS).values(
        tenant="local", upload_id="u", request_sha256="", size_bytes=1, expires_at=now(), dataset_id="none"
    )
    with pytest.raises(IntegrityError):
        database.write(lambda connection: connection.execute(orphan))


def test_writers_that_look_first_lose_no_update(database):
    """Eight threads add one 25 times each, by reading and then writing."""
    database.write(lambda connection: connection.execute(blob()))

    def add(connection):
        connection.execute(update(BLOBS).values(size_bytes=size(connection) + 1))

    def work():
        for _ in range(25):
            database.write(add)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.read(size) == 200


def test_a_reader_sees_one_state(database):
    database.write(lambda connection: connection.execute(blob()))

    def task(connection):
        before = size(connection)
        database.write(lambda other: other.execute(update(BLOBS).values(size_bytes=9)))
        return before, size(connection)

    assert database.read(task) == (0, 0)
    assert database.read(size) == 9


def test_times_come_from_the_databases_clock_in_utc(database):
    database.write(lambda connection: connection.execute(blob()))
    kept = database.read(lambda connection: connection.scalars(select(BLOBS.c.touched_at)).one())
    assert kept.tzinfo is UTC
    assert abs(kept.timestamp() - database.now()) < 60
    assert abs((kept - datetime.now(UTC)).total_seconds()) < 60


def test_times_compare_with_offsets(database):
    database.write(lambda connection: connection.execute(blob()))

    def older_than(seconds):
        where = BLOBS.c.touched_at < now(-seconds)
        return database.read(lambda c: c.scalar(select(func.count()).select_from(BLOBS).where(where)))

    assert older_than(-60) == 1
    assert older_than(60) == 0


def test_times_keep_their_microseconds(database):
    at = datetime(2026, 11, 26, 7, 5, 3, 123457, tzinfo=UTC)
    database.write(lambda c: c.execute(blob().values(touched_at=at)))
    assert database.read(lambda c: c.scalars(select(BLOBS.c.touched_at)).one()) == at
    assert database.read(lambda c: c.scalar(select(BLOBS.c.touched_at == at)))
    late = select(BLOBS.c.touched_at > at - timedelta(microseconds=1))
    assert database.read(lambda c: c.scalar(late))


def differences(connection, **options):
    """Between the tables that there are and those that queries use; the note of all schemas is nobody's."""
    options["include_name"] = lambda name, kind, parents: name != "pequod_schemas"
    return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)


def test_migrations_make_the_tables_that_queries_use(database):
    with database.engine.connect() as connection:
        assert differences(connection, compare_type=True) == []


def test_opening_again_changes_nothing(database, database_url):
    database.write(lambda connection: connection.execute(blob(size=3)))
    again = open_database(database_url)
    assert again.read(size) == 3
    again.close()


def test_an_older_schema_is_upgraded_and_keeps_its_rows(database, database_url):
    """As the first revision left it: no jobs, and content."""

    def back(connection):
        connection.execute(blob(size=3))
        for table in ("deliveries", "promotions", "checkpoints", "job_events", "jobs"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    database.write(back)
    again = open_database(database_url)
    assert again.read(size) == 3
    assert again.read(lambda connection: connection.scalar(select(func.count()).select_from(JOBS))) == 0
    with again.engine.connect() as connection:
        assert differences(connection) == []
    again.close()


OPEN = """
import sys
from services.finetune.database.settings import open_database
database = open_database(sys.argv[1])
print(database.now())
"""


def test_many_processes_may_open_a_new_database_at_once(database_url):
    command = [sys.executable, "-c", OPEN, database_url]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs


def test_a_newer_schema_is_refused_with_a_sentence(database, database_url):
    newer = text("UPDATE alembic_version SET version_num = '9999'")
    database.write(lambda connection: connection.execute(newer))
    with pytest.raises(SettingsError, match="9999 is newer"):
        open_database(database_url)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("mysql://root:secret@host/name", "neither sqlite"),
        ("pequod.db", "Could not parse"),
    ],
)
def test_other_urls_are_refused(url, part):
    with pytest.raises(SettingsError, match=part) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_refused_with_the_setting(tmp_path):
    (tmp_path / "var").write_text("no folder")
    with pytest.raises(SettingsError, match=r"PEQUOD_DATABASE_URL='sqlite:.*' is not usable: .*var'"):
        open_database(f"sqlite:///{tmp_path}/var/pequod.db")


def test_a_server_that_does_not_answer_is_unavailable():
    with pytest.raises(ServiceError) as caught:
        open_database("postgresql://postgres@127.0.0.1:1/none", patience=0.1)
    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.reason is Reason.DATABASE_UNREACHABLE
    assert caught.value.retry_after
    assert caught.value.message == "the database cannot be reached"  # where it is, callers need not know
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_connection_that_the_server_ends_is_made_again(database):
    database.write(lambda connection: connection.execute(blob()))
    tried = []

    def task(connection):
        tried.append(connection.scalar(select(func.pg_backend_pid())))
        if len(tried) == 1:
            end = select(func.pg_terminate_backend(tried[0]))
            database.read(lambda other: other.execute(end))
        connection.execute(update(BLOBS).values(size_bytes=BLOBS.c.size_bytes + 1))

    database.write(task)
    assert len(tried) == 2
    assert database.read(size) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_full_disk_is_told_as_one_and_passes(database):
    def rooms(connection, pages):
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    def many(connection):
        doubled = "INSERT INTO blobs SELECT 'local', hex(randomblob(400)), 1, 0 FROM blobs"
        for _ in range(12):
            connection.execute(text(doubled))

    database.write(lambda connection: connection.execute(blob()))
    database.write(lambda connection: rooms(connection, 1))  # as many as there are, and no more
    with pytest.raises(ServiceError, match="no space left on the disk for the database") as caught:
        database.write(many)
    assert (caught.value.code, caught.value.reason) == (Code.RESOURCE_EXHAUSTED, Reason.DISK_FULL)
    database.write(lambda connection: rooms(connection, 1_000_000))
    database.write(lambda connection: connection.execute(blob("b" * 64)))


def test_while_nobody_gives_a_connection_back_the_database_counts_as_away(database_url, monkeypatch):
    monkeypatch.setattr("services.common.database.engines._POOL_SECONDS", 0.05)
    database = open_database(database_url)
    held = [database.engine.connect() for _ in range(8)]
    with pytest.raises(ServiceError, match="cannot be reached") as caught:
        database.now()
    assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, Reason.DATABASE_UNREACHABLE)
    for connection in held:
        connection.close()
    assert database.now() > 0
    database.close()
