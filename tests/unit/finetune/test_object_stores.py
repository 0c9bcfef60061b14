"""Data sets in object stores, against a real S3 protocol server (moto): imported from one, kept in one."""

from __future__ import annotations

import hashlib

import pytest

from pequod.finetune import v1
from services.common import tenants
from services.finetune.datasets.storage.content import ObjectContent
from tests.unit.finetune.object_store import BUCKET, serving_s3
from tests.unit.finetune.parts import picture, running, upload


@pytest.fixture
def s3(monkeypatch):
    """A client of a fresh server that the service's own client finds too."""
    with serving_s3(monkeypatch) as client:
        yield client


def keys(s3) -> list[str]:
    return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


@pytest.mark.parametrize(("uri", "examples"), [(f"s3://{BUCKET}/pics", 2), (f"s3://{BUCKET}/pics/a.png", 1)])
async def test_objects_are_imported(s3, tmp_path, uri, examples):
    s3.put_object(Bucket=BUCKET, Key="pics/a.png", Body=picture(1))
    s3.put_object(Bucket=BUCKET, Key="pics/sub/b.png", Body=picture(2))
    s3.put_object(Bucket=BUCKET, Key="picsother/c.png", Body=picture(3))
    url = f"sqlite:///{tmp_path}/f.db"
    async with running(url, tmp_path, import_from=(f"s3://{BUCKET}",)) as (stub, _):
        replies = [reply async for reply in stub.ImportDataset(v1.ImportDatasetRequest(uri=uri))]
    assert replies[-1].dataset.state == v1.DATASET_STATE_READY, replies[-1].dataset.error
    assert replies[-1].dataset.report.examples == examples


async def test_a_bucket_that_is_not_there_fails_with_a_sentence(s3, tmp_path):
    url = f"sqlite:///{tmp_path}/f.db"
    async with running(url, tmp_path, import_from=("s3://nowhere",)) as (stub, _):
        request = v1.ImportDatasetRequest(uri="s3://nowhere/x")
        replies = [reply async for reply in stub.ImportDataset(request)]
    assert replies[-1].dataset.state == v1.DATASET_STATE_FAILED
    assert "s3://nowhere/x" in replies[-1].dataset.error


async def test_content_may_be_kept_in_a_bucket(s3, tmp_path):
    url, place = f"sqlite:///{tmp_path}/f.db", f"s3://{BUCKET}/kept"
    async with running(url, tmp_path, datasets=place) as (stub, process):
        dataset = await upload(stub, {"a.png": picture(1), "a.txt": b"one"})
        assert dataset.state == v1.DATASET_STATE_READY, dataset.error
        sha256 = hashlib.sha256(picture(1)).hexdigest()
        assert f"kept/local/{sha256[:2]}/{sha256}" in keys(s3)
        for _ in range(2):  # the second time from the cache
            [read] = process.datasets.open(tenants.LOCAL, dataset.dataset_id).pictures()
            assert (read.file.read_bytes(), read.captions) == (picture(1), ("one",))
        freed = await stub.DeleteDataset(v1.DeleteDatasetRequest(dataset_id=dataset.dataset_id))
        assert freed.freed_bytes == len(picture(1)) + 3
        assert keys(s3) == []


def test_an_object_with_other_bytes_is_not_handed_out(s3, tmp_path):
    content = ObjectContent(f"s3://{BUCKET}/kept", tmp_path)
    sha256 = "ab" * 32
    s3.put_object(Bucket=BUCKET, Key=f"kept/local/ab/{sha256}", Body=b"other")
    with pytest.raises(OSError, match="other bytes"):
        content.fetch("local", sha256)
    with pytest.raises(FileNotFoundError):
        content.fetch("local", "cd" * 32)
    content.remove("local", "cd" * 32)
