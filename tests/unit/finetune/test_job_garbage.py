"""What of data sets and jobs nobody needs, on both databases; and the command that finds and removes it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, update
from typer.testing import CliRunner

from gateway.cli.app import build
from services.common.database.clock import now
from services.common.errors import Code, Reason, ServiceError
from services.common.store.disk import DiskLayer
from services.common.upkeep.collecting import Outcome, collect
from services.common.upkeep.policy import Policy
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.database.schema import (
    BLOBS,
    CHECKPOINTS,
    DATASET_FILES,
    DATASETS,
    JOBS,
    PROMOTIONS,
    UPLOADS,
)
from services.finetune.datasets.dataset import BadFiles, Kind, Options, State
from services.finetune.datasets.records import DatasetRecords, insert_dataset
from services.finetune.datasets.storage.content import DiskContent
from services.finetune.jobs.job import Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.promotion.records import PromotionRecords, Wanted
from services.finetune.upkeep.opening import garbage
from tests.unit.common.store_parts import manifest_of, write_files

OLD = datetime(2020, 1, 1, tzinfo=UTC)


class Kept:
    """A database with folders, as the settings of a platform name them."""

    def __init__(self, database, url, folder):
        self.database, self.folder = database, folder
        self.environ = {
            "PEQUOD_DATABASE_URL": url,
            "PEQUOD_DATASETS": f"{folder}/datasets",
            "PEQUOD_FINETUNE_WORK": f"{folder}/work",
            "PEQUOD_STORE": f"{folder}/models",
            "PEQUOD_CACHE": f"{folder}/cache",
            "PEQUOD_MODELS": f"{folder}/shipped",
        }

    def run(self, is_real=True, **policy):
        with garbage(Policy(is_offline=True, **policy), self.environ) as sources:
            found = collect(sources, is_real, pytest.fail)
        return {(item.kind, item.tenant, item.what.split()[0]): outcome for item, outcome in found.items}

    def dataset(self, tenant="acme", data=b"words"):
        sha = hashlib.sha256(data).hexdigest()
        options = Options("texts", Kind.TEXT, BadFiles.SKIP, {})

        def task(connection):
            made = insert_dataset(connection, tenant, options, State.READY, {"size_bytes": len(data)})
            mine = {"tenant": tenant, "sha256": sha, "size_bytes": len(data)}
            connection.execute(insert(BLOBS).values(**mine, touched_at=OLD))
            row = {**mine, "dataset_id": made.dataset_id, "path": "a.txt", "role": "document"}
            connection.execute(insert(DATASET_FILES).values(row))
            connection.execute(update(DATASETS).values(created_at=OLD))
            return made.dataset_id

        dataset_id = self.database.write(task)
        source = self.folder / "source"
        source.write_bytes(data)
        DiskContent(self.folder / "datasets").put(tenant, sha, source)
        return dataset_id

    def job(self, spec=None, **values):
        chosen = spec or Spec("ngram", name="mine")
        job, _ = JobRecords(self.database).create("acme", chosen)
        if values:
            self.write(update(JOBS).where(JOBS.c.job_id == job.job_id).values(**values))
        return job

    def checkpoint(self, job, step=10):
        folder = JobFolder(self.folder / "work", "acme", job.job_id).candidate(step)
        write_files(folder)
        values = {"tenant": "acme", "job_id": job.job_id, "checkpoint_id": f"{job.job_id}-{step}"}
        more = {"step": step, "rank": 1, "scores": [], "veto_reason": "", "best": True, "promoted": False}
        rest = {"previews": [], "size_bytes": 9, "digest": "", "created_at": OLD}
        self.write(insert(CHECKPOINTS).values(**values, **more, **rest))
        return folder

    def promotion(self, job, version, **values):
        key = {"tenant": "acme", "job_id": job.job_id, "checkpoint_id": f"c{version}", "name": "mine"}
        fresh = {"manifest": {}, "alias": "production", "previous_version": "", "published": True}
        row = {**key, "version": version, **fresh, "created_at": now(), **values}
        self.write(insert(PROMOTIONS).values(**row))

    def versions(self, *versions):
        layer = DiskLayer(self.folder / "models", "user", writable=True)
        for version in versions:
            folder = write_files(self.folder / f"made-{version}", int(version))
            layer.publish(folder, manifest_of(folder, "mine", version, tenant="acme"))
        return layer

    def write(self, statement):
        self.database.write(lambda connection: connection.execute(statement))


@pytest.fixture
def kept(database, database_url, tmp_path):
    return Kept(database, database_url, tmp_path)


def test_a_data_set_goes_unless_a_job_names_it(kept):
    named, idle = kept.dataset(data=b"one"), kept.dataset(data=b"two")
    kept.job(Spec("ngram", dataset_id=named), state="succeeded", ended_at=now())
    assert kept.run(False) == {("data set", "acme", idle): Outcome.WOULD_GO}
    assert kept.run(dataset_seconds=None) == {}
    assert kept.run() == {("data set", "acme", idle): Outcome.REMOVED}
    assert [each.sha256 for each in DiskContent(kept.folder / "datasets").kept()] == [
        hashlib.sha256(b"one").hexdigest()
    ]
    assert kept.run() == {}


def test_a_job_that_is_created_meanwhile_keeps_its_data_set(kept):
    dataset_id = kept.dataset()
    with garbage(Policy(is_offline=True), kept.environ) as sources:
        source = next(each for each in sources if each.name == "data sets")
        due = source.find(True)
        kept.job(Spec("ngram", validation_dataset_id=dataset_id))
        assert list(source.remove(due)) == [False]
    assert DatasetRecords(kept.database, 0).get("acme", dataset_id)


def test_another_tenants_job_of_the_same_name_keeps_nothing(kept):
    dataset_id = kept.dataset(tenant="shop")
    kept.job(Spec("ngram", dataset_id=dataset_id))
    assert kept.run() == {("data set", "shop", dataset_id): Outcome.REMOVED}


def test_bytes_that_the_database_does_not_know_go(kept):
    kept.dataset(data=b"known")
    sha, stray = hashlib.sha256(b"stray").hexdigest(), kept.folder / "stray"
    stray.write_bytes(b"stray")
    content = DiskContent(kept.folder / "datasets")
    content.put("acme", sha, stray)
    path = content.fetch("acme", sha)
    assert kept.run(False, dataset_seconds=None) == {}, "it may be about to get its row"
    os.utime(path, (time.time() - 7200,) * 2)
    assert kept.run(dataset_seconds=None) == {("content", "acme", sha): Outcome.REMOVED}
    assert not path.exists()
    assert len(list(content.kept())) == 1


def test_checkpoints_of_ended_jobs_lose_their_files_and_say_so(kept):
    ended, fresh = kept.job(state="succeeded", ended_at=OLD), kept.job(state="succeeded", ended_at=now())
    gone, stays, works = kept.checkpoint(ended), kept.checkpoint(fresh), kept.checkpoint(kept.job())
    assert kept.run() == {
        ("checkpoint", "acme", f"{ended.job_id}-10"): Outcome.REMOVED,
        ("checkpoint", "acme", f"{fresh.job_id}-10"): Outcome.WAITS,
    }
    assert [each.is_dir() for each in (gone, stays, works)] == [False, True, True]
    wanted = Wanted("acme", ended.job_id, f"{ended.job_id}-10", "mine", "production")
    with pytest.raises(ServiceError) as caught:
        PromotionRecords(kept.database).reserve(wanted, (), pytest.fail)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.CHECKPOINT_GONE)


def test_a_checkpoint_that_is_being_published_keeps_its_files(kept):
    job = kept.job(state="succeeded", ended_at=OLD)
    folder = kept.checkpoint(job)
    kept.promotion(job, "1", checkpoint_id=f"{job.job_id}-10", published=False)
    assert kept.run() == {}
    assert folder.is_dir()


def test_versions_stay_that_jobs_start_from_publish_or_may_publish_again(kept):
    layer = kept.versions("1", "2", "3", "4", "5", "6", "7")
    kept.job(Spec("ngram", base="mine:1"))
    kept.promotion(kept.job(state="succeeded", ended_at=OLD), "2", published=False)
    kept.promotion(kept.job(state="succeeded", ended_at=now()), "3")
    kept.promotion(kept.job(state="succeeded", ended_at=OLD), "6", previous_version="4")
    found = kept.run(grace_seconds=0.0, keep_last=1)
    assert found == {("version", "acme", f"mine:{each}"): Outcome.REMOVED for each in "56"}
    assert set(layer.versions()["mine"]) == {"1", "2", "3", "4", "7"}


def test_the_command_shows_first_and_removes_when_told_to(kept, monkeypatch):
    dataset_id = kept.dataset()
    for name, value in kept.environ.items():
        monkeypatch.setenv(name, value)
    audit = kept.folder / "audit.jsonl"
    monkeypatch.setenv("PEQUOD_AUDIT_FILE", str(audit))
    command = ["store", "gc", "--offline", "--json"]
    first = CliRunner().invoke(build(), command)
    assert [each["outcome"] for each in json.loads(first.stdout)["items"]] == ["would go"]
    assert not audit.exists()
    second = json.loads(CliRunner().invoke(build(), [*command, "--delete"]).stdout)
    (item,) = second["items"]
    assert (item["kind"], item["tenant"], item["bytes"], item["outcome"]) == (
        "data set",
        "acme",
        5,
        "removed",
    )
    assert item["what"].startswith(dataset_id)
    assert json.loads(audit.read_text())["about"] == {"removed": 1, "bytes": 5}
    silent = CliRunner().invoke(build(), ["store", "gc", "--ask", "127.0.0.1:1"])
    assert silent.exit_code == 1
    assert "versions are left alone: the service at 127.0.0.1:1 does not say" in silent.stderr.replace(
        "\n", " "
    )
    bad = CliRunner().invoke(build(), ["store", "gc", "--grace", "soon"])
    assert (bad.exit_code, "no span of time" in bad.stderr) == (1, True)


async def test_a_late_upload_goes(kept):
    row = {"tenant": "acme", "upload_id": "u1", "request_sha256": "", "size_bytes": 3}
    kept.write(insert(UPLOADS).values(**row, expires_at=OLD))
    kept.write(insert(UPLOADS).values(**{**row, "upload_id": "u2"}, expires_at=now(600)))
    assert await asyncio.to_thread(kept.run) == {("upload", "acme", "u1"): Outcome.REMOVED}
