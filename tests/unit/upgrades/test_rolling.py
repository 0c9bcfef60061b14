"""Databases of earlier revisions are upgraded while programs of those revisions go on; on both databases.

What old programs do is written here as SQL, as their revision has the tables: the code that did it is gone.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from gateway.database import SCHEMA as GATEWAY
from gateway.usage.store import Asked, UsageStore
from services.common.database.database import Database
from services.common.database.engines import make_engine
from services.common.database.migrate import Schema, migrate, revision_of, tables_of, upgrade
from services.common.settings import SettingsError
from services.finetune.database.schema import METADATA
from services.finetune.database.settings import SCHEMA as FINETUNE
from services.finetune.datasets.records import DatasetRecords
from services.finetune.jobs.job import Spec
from services.finetune.jobs.records import JobRecords

_DATASET = """
INSERT INTO datasets (tenant, dataset_id, display_name, kind, state, bad_files, labels, source_uri, digest,
    size_bytes, reserved_bytes, error, created_at, request_sha256, epoch, attempts)
VALUES ('acme', :id, 'old', 'text', 'ready', 'skip', '{}', '', '', 3, 0, '', 1000, '', 0, 0)
"""
_JOB = """
INSERT INTO jobs (tenant, job_id, spec, recipe, priority, executor, accelerators, request_sha256, state, step,
    remaining_seconds, metrics, best_checkpoint_id, promoted_checkpoint_id, model, dataset_digest,
    base_version, attempts, vain_attempts, last_event, created_at, cancel_requested, pause_requested,
    epoch, handle)
VALUES ('acme', :id, :spec, 'ngram', 0, 'local', 0, '', 'queued', 0,
    0.0, '{}', '', '', '', '', '',
    0, 0, 0, 1000, FALSE, FALSE, 0, '')
"""
_USAGE = """
INSERT INTO usage (hour, tenant, key_name, model, method, calls, failed, input_tokens, output_tokens,
    cached_tokens, steps, compute_ms)
VALUES (1000, 'acme', 'laptop', :id, 'm', 1, 0, 0, 0, 0, 0, 0.5)
"""


@dataclass(frozen=True)
class Old:
    """A program of a revision: what it writes, and what it counts."""

    schema: Schema
    revision: str
    write: str
    count: str


OLD = [
    Old(FINETUNE, "0001", _DATASET, "SELECT count(*), min(created_at) FROM datasets WHERE state = 'ready'"),
    Old(FINETUNE, "0002", _JOB, "SELECT count(*), min(epoch) FROM jobs WHERE state = 'queued'"),
    Old(GATEWAY, "g0001", _USAGE, "SELECT count(*), sum(calls) FROM usage WHERE tenant = 'acme'"),
]


def executed(engine, statement, values=None, writes=True):
    """As the old program did it: again where another was in its way."""
    while True:
        try:
            with engine.execution_options(writes=writes).begin() as connection:
                result = connection.execute(text(statement), values or {})
                return result.all() if result.returns_rows else []
        except OperationalError as error:
            if "locked" not in str(error):
                raise


def given(old, number):
    """The values of a row that the old program writes."""
    spec = Spec("ngram", labels={"number": str(number)}).to_json()
    values = {"id": f"old-{number}", "spec": json.dumps(spec)}
    return {name: values[name] for name in values if f":{name}" in old.write}


class Going(threading.Thread):
    """An old program that writes and reads until it is told to stop."""

    def __init__(self, url, old):
        super().__init__()
        self.old, self.engine = old, make_engine(url)
        self.stop, self.begun = threading.Event(), threading.Event()
        self.written, self.errors = 0, []

    def run(self):
        try:
            while not self.stop.is_set():
                executed(self.engine, self.old.write, given(self.old, 1000 + self.written))
                self.written += 1
                ((count, _),) = executed(self.engine, self.old.count, writes=False)
                assert count >= self.written
                if self.written == 3:
                    self.begun.set()
        except Exception as error:
            self.errors.append(error)
        finally:
            self.begun.set()
            self.engine.dispose()


@pytest.fixture(params=OLD, ids=lambda old: old.revision)
def old(request):
    return request.param


def at_revision(url, old, rows=5):
    engine = make_engine(url)
    with engine.begin() as connection:
        upgrade(connection, old.schema, old.revision)
    for number in range(rows):
        executed(engine, old.write, given(old, number))
    engine.dispose()


def test_old_programs_go_on_while_it_is_upgraded(database_url, old):
    at_revision(database_url, old)
    going = Going(database_url, old)
    going.start()
    assert going.begun.wait(60)
    database = Database.open(database_url, old.schema, patience=60)
    at_upgrade = going.written
    while going.is_alive() and going.written < at_upgrade + 3:
        going.join(0.01)
    going.stop.set()
    going.join()
    assert going.errors == []
    found = found_by_the_new(database, old)
    assert found == 5 + going.written
    database.close()


def found_by_the_new(database, old):
    """Rows of the old program, as the new one sees them through its own code."""
    if old.revision == "0001":
        return len(DatasetRecords(database, 0).page("acme", 10_000).datasets)
    if old.revision == "0002":
        jobs = JobRecords(database).page("acme", 10_000).jobs
        assert {job.spec.recipe for job in jobs} == {"ngram"}
        numbers = {job.spec.labels["number"] for job in jobs}
        assert len(numbers) == len(jobs)
        return len(jobs)
    (row,) = UsageStore(database).sums(Asked(["tenant"]))
    return row["calls"]


def test_new_programs_that_start_at_once_do_not_clash(database_url, old):
    at_revision(database_url, old)
    command = [sys.executable, "-c", OPEN, database_url]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    database = Database.open(database_url, old.schema)
    assert found_by_the_new(database, old) == 5
    database.close()


OPEN = """
import sys
from gateway.database import SCHEMA as GATEWAY
from services.common.database.database import Database
from services.finetune.database.settings import SCHEMA as FINETUNE
for schema in (FINETUNE, GATEWAY):
    Database.open(sys.argv[1], schema, patience=60).close()
"""


def schema_of(folder, *revisions):
    """A program's schema with one revision for each (name, works_with, statement)."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    before = None
    for name, works_with, statement in revisions:
        noted = f"works_with = {works_with!r}\n" if works_with else ""
        (versions / f"{name}_step.py").write_text(
            f"from alembic import op\nrevision = {name!r}\ndown_revision = {before!r}\n{noted}"
            f"def upgrade():\n    op.execute({statement!r})\n"
        )
        before = name
    return Schema(folder, "PEQUOD_DATABASE_URL", "toy_version")


FIRST = ("t1", "t1", "CREATE TABLE toys (name TEXT NOT NULL)")
ADDS = ("t2", "t1", "ALTER TABLE toys ADD COLUMN colour TEXT DEFAULT 'grey' NOT NULL")
BREAKS = ("t3", "t2", "ALTER TABLE toys RENAME COLUMN name TO title")


def test_an_old_program_starts_anew_on_a_schema_that_was_made_for_it(database_url, tmp_path):
    before, after = schema_of(tmp_path / "old", FIRST), schema_of(tmp_path / "new", FIRST, ADDS)
    Database.open(database_url, before).close()
    Database.open(database_url, after).close()
    again = Database.open(database_url, before)
    again.write(lambda connection: connection.execute(text("INSERT INTO toys (name) VALUES ('top')")))
    with again.engine.connect() as connection:
        assert revision_of(connection, after) == "t2", "it takes nothing back"
    again.close()
    newest = Database.open(database_url, after)
    read = text("SELECT name, colour FROM toys")
    assert newest.read(lambda connection: connection.execute(read).all()) == [("top", "grey")]
    newest.close()


def test_an_old_program_is_refused_by_a_schema_that_would_break_it(database_url, tmp_path):
    before = schema_of(tmp_path / "old", FIRST)
    between = schema_of(tmp_path / "between", FIRST, ADDS)
    after = schema_of(tmp_path / "new", FIRST, ADDS, BREAKS)
    Database.open(database_url, after).close()
    with pytest.raises(SettingsError, match="t3 is newer than this program knows"):
        Database.open(database_url, before)
    Database.open(database_url, between).close()


def test_a_revision_that_says_nothing_is_for_its_own_program(database_url, tmp_path):
    before = schema_of(tmp_path / "old", FIRST)
    Database.open(database_url, schema_of(tmp_path / "new", FIRST, ("t2", None, ADDS[2]))).close()
    with pytest.raises(SettingsError, match="t2 is newer"):
        Database.open(database_url, before)


def test_a_database_from_before_the_note_gets_it(database_url):
    """The programs of today's revisions did not write it."""
    engine = make_engine(database_url)
    migrate(engine, FINETUNE)
    executed(engine, "DROP TABLE pequod_schemas")
    migrate(engine, FINETUNE)
    migrate(engine, GATEWAY)
    rows = executed(engine, "SELECT version_table, works_with FROM pequod_schemas ORDER BY 1", writes=False)
    assert rows == [("alembic_version", "0002"), ("gateway_version", "g0001")]
    engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_upgrade_waits_for_a_long_reader_without_holding_up_the_others(database_url):
    """Whoever waits for a table has everybody else wait behind it, so it gives up soon and tries again."""
    old = OLD[1]
    at_revision(database_url, old)
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    opened = []
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM jobs"))
        upgrading = threading.Thread(
            target=lambda: opened.append(Database.open(database_url, old.schema, patience=60))
        )
        upgrading.start()
        executed(engine, old.write, given(old, 77))  # else it would hang here
        assert not opened
    upgrading.join(60)
    assert found_by_the_new(opened[0], old) == 6
    opened[0].close()
    engine.dispose()


@pytest.mark.parametrize("schema", [FINETUNE, GATEWAY], ids=["finetune", "gateway"])
def test_every_revision_says_whom_it_does_not_break(schema):
    known = []
    for script in reversed(list(ScriptDirectory(str(schema.migrations)).walk_revisions())):
        known.append(script.revision)
        assert script.module.works_with in known, script.revision


@pytest.mark.parametrize("schema", [FINETUNE, GATEWAY], ids=["finetune", "gateway"])
def test_a_revision_that_works_with_the_one_before_takes_nothing_away(schema):
    """First add: tables stay, columns stay, and what is new has a default or may be empty."""
    scripts = list(reversed(list(ScriptDirectory(str(schema.migrations)).walk_revisions())))
    for before, after in itertools.pairwise(scripts):
        if after.module.works_with == after.revision:
            continue
        old, new = columns_at(schema, before.revision), columns_at(schema, after.revision)
        assert set(old) <= set(new)
        for table, columns in old.items():
            assert {name: str(each["type"]) for name, each in columns.items()}.items() <= {
                name: str(each["type"]) for name, each in new[table].items()
            }.items()
            for name in set(new[table]) - set(columns):
                assert new[table][name]["nullable"] or new[table][name]["default"] is not None, name


def columns_at(schema, revision):
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection, schema, revision)
        found = inspect(connection)
        return {
            table: {column["name"]: column for column in found.get_columns(table)}
            for table in found.get_table_names()
        }


def test_the_tables_of_a_schema_are_those_that_its_code_asks_for():
    assert tables_of(FINETUNE) == sorted(METADATA.tables)
    source = "\n".join(path.read_text() for path in Path(GATEWAY.migrations).parent.rglob("*.py"))
    assert tables_of(GATEWAY) == sorted(set(re.findall(r'Table\(\s*"(\w+)"', source)))
