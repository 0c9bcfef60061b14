"""Uploads over real gRPC, on both databases: offsets, hashes, breaks, quotas, expiry, what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid

import grpc
import pytest

from pequod.finetune import v1
from services.common import tenants
from services.finetune.database.settings import open_database
from services.finetune.datasets.dataset import Options
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.arrivals import ExpectedFile
from services.finetune.datasets.uploads import Start, Uploads
from tests.unit.finetune.parts import (
    ended,
    kept_files,
    picture,
    requests_of,
    running,
    start_of,
    upload,
)
from tests.unit.serving import refused

FILES = {"a.png": picture(1), "deep/b.png": picture(2), "empty.txt": b"", "c.png": picture(3)}
JOINED = b"".join(FILES.values())


def moved(start: v1.UploadStart, offset: int) -> v1.UploadStart:
    again = v1.UploadStart()
    again.CopyFrom(start)
    again.offset = offset
    return again


async def offset_of(stub, start) -> int:
    return (await stub.GetUpload(v1.GetUploadRequest(upload_id=start.upload_id))).offset


async def send(stub, start, data):
    return await stub.UploadDataset(requests_of(start, data, chunk=100))


async def test_an_upload_becomes_a_data_set(stub):
    dataset = await upload(stub, FILES, display_name="three", labels={"who": "me"})
    assert dataset.state == v1.DATASET_STATE_READY, dataset.error
    assert (dataset.display_name, dict(dataset.labels)) == ("three", {"who": "me"})
    assert dataset.kind == v1.DATASET_KIND_IMAGES
    assert dataset.report.examples == 3
    assert dataset.tenant == "local"


async def test_the_digest_is_over_sorted_paths_and_hashes(stub):
    dataset = await upload(stub, FILES)
    lines = sorted(f"{path}\0{hashlib.sha256(data).hexdigest()}\n" for path, data in FILES.items() if data)
    assert dataset.digest == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("cut", [1, len(FILES["a.png"]), len(FILES["a.png"]) + 7, len(JOINED) - 1])
async def test_a_stream_that_ends_early_goes_on_at_the_offset(stub, cut):
    start = start_of(FILES)
    code, message, _ = await refused(send(stub, start, JOINED[:cut]))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert f"offset {cut}" in message
    assert await offset_of(stub, start) == cut
    reply = await send(stub, moved(start, cut), JOINED[cut:])
    assert (await ended(stub, reply.dataset.dataset_id)).report.examples == 3


async def test_offset_0_begins_anew(stub):
    start = start_of(FILES)
    await refused(send(stub, start, JOINED[:200]))
    reply = await send(stub, start, JOINED)
    assert (await ended(stub, reply.dataset.dataset_id)).report.examples == 3


async def test_another_offset_is_refused_with_the_right_one(stub):
    start = start_of(FILES)
    await refused(send(stub, start, JOINED[:200]))
    code, message, field = await refused(send(stub, moved(start, 100), JOINED[100:]))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "start.offset")
    assert "200" in message


async def test_a_caller_that_leaves_loses_nothing(stub):
    start = start_of(FILES)
    sent = asyncio.Event()

    async def requests():
        yield v1.UploadDatasetRequest(start=start)
        yield v1.UploadDatasetRequest(chunk=JOINED[:300])
        sent.set()
        await asyncio.Event().wait()

    call = stub.UploadDataset(requests())
    await sent.wait()
    async with asyncio.timeout(30):
        while await offset_of_or_none(stub, start) != 300:
            await asyncio.sleep(0.02)
    call.cancel()
    reply = None
    async with asyncio.timeout(30):
        while reply is None:  # ABORTED until the server has seen that the caller left
            with contextlib.suppress(grpc.aio.AioRpcError):
                reply = await send(stub, moved(start, 300), JOINED[300:])
    assert (await ended(stub, reply.dataset.dataset_id)).report.examples == 3


async def offset_of_or_none(stub, start):
    try:
        return await offset_of(stub, start)
    except grpc.aio.AioRpcError:
        return None


async def test_two_streams_of_one_upload_do_not_mix(stub):
    start = start_of(FILES)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly():
        yield v1.UploadDatasetRequest(start=start)
        yield v1.UploadDatasetRequest(chunk=JOINED[:300])
        begun.set()
        await go_on.wait()
        yield v1.UploadDatasetRequest(chunk=JOINED[300:])

    first = asyncio.ensure_future(stub.UploadDataset(slowly()))
    await begun.wait()
    while await offset_of_or_none(stub, start) != 300:
        await asyncio.sleep(0.02)
    code, _, _ = await refused(send(stub, moved(start, 300), JOINED[300:]))
    assert code == grpc.StatusCode.ABORTED
    go_on.set()
    dataset = (await first).dataset
    assert (await ended(stub, dataset.dataset_id)).report.examples == 3


async def test_a_finished_upload_is_answered_with_its_data_set(stub):
    start = start_of(FILES)
    first = await send(stub, start, JOINED)
    await ended(stub, first.dataset.dataset_id)
    again = await send(stub, start, JOINED)
    assert again.dataset.dataset_id == first.dataset.dataset_id
    assert again.dataset.state == v1.DATASET_STATE_READY
    standing = await stub.GetUpload(v1.GetUploadRequest(upload_id=start.upload_id))
    assert standing.offset == standing.size_bytes == len(JOINED)
    assert standing.dataset.dataset_id == first.dataset.dataset_id
    assert not standing.HasField("expire_time")


async def test_an_id_with_other_files_is_refused(stub):
    start = start_of(FILES)
    await refused(send(stub, start, JOINED[:10]))
    other = start_of({"other.png": picture(9)}, upload_id=start.upload_id)
    code, message, _ = await refused(send(stub, other, b""))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert "new UUID" in message


async def test_a_file_with_another_hash_is_thrown_away_and_can_be_sent_again(stub):
    start = start_of(FILES)
    broken = JOINED[:5] + b"X" + JOINED[6:]
    code, message, field = await refused(send(stub, start, broken))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "start.files[0].sha256")
    assert "a.png" in message
    assert await offset_of(stub, start) == 0
    reply = await send(stub, start, JOINED)
    assert (await ended(stub, reply.dataset.dataset_id)).report.examples == 3


async def test_what_came_before_a_break_counts_in_the_hash(stub):
    start = start_of(FILES)
    broken = b"X" + JOINED[1:50]
    await refused(send(stub, start, broken))
    _, _, field = await refused(send(stub, moved(start, 50), JOINED[50:]))
    assert field == "start.files[0].sha256"


async def test_more_bytes_than_announced_are_refused(stub):
    code, _, field = await refused(send(stub, start_of(FILES), JOINED + b"more"))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "chunk")


async def test_an_upload_that_broke_off_says_when_it_expires(stub):
    start = start_of(FILES)
    await refused(send(stub, start, JOINED[:10]))
    standing = await stub.GetUpload(v1.GetUploadRequest(upload_id=start.upload_id))
    assert standing.size_bytes == len(JOINED)
    assert standing.HasField("expire_time")


async def test_an_unknown_upload_is_not_found(stub):
    code, _, _ = await refused(stub.GetUpload(v1.GetUploadRequest(upload_id=str(uuid.uuid4()))))
    assert code == grpc.StatusCode.NOT_FOUND


async def test_the_quota_counts_uploads_under_way_and_frees_what_is_deleted(database_url, tmp_path):
    size = len(JOINED)
    async with running(database_url, tmp_path, quota_bytes=2 * size + 100) as (stub, _):
        await refused(send(stub, start_of(FILES), b""))  # reserves its size
        first = await upload(stub, {"one.png": picture(11), "pad.txt": b"x" * (size - len(picture(11)))})
        code, message, _ = await refused(send(stub, start_of({"big.bin": b"y" * size}), b"y" * size))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "delete data sets" in message
        await stub.DeleteDataset(v1.DeleteDatasetRequest(dataset_id=first.dataset_id))
        listed = await stub.ListDatasets(v1.ListDatasetsRequest())
        assert (listed.used_bytes, listed.quota_bytes) == (size, 2 * size + 100)


async def test_content_is_kept_once_and_freed_with_its_last_data_set(stub, tmp_path):
    one = await upload(stub, {"a.png": picture(1), "b.png": picture(2)})
    two = await upload(stub, {"other/name.png": picture(1)})
    assert len(kept_files(tmp_path)) == 2
    freed = [
        (await stub.DeleteDataset(v1.DeleteDatasetRequest(dataset_id=dataset.dataset_id))).freed_bytes
        for dataset in (two, one)
    ]
    assert freed == [0, len(picture(1)) + len(picture(2))]
    assert kept_files(tmp_path) == []
    code, _, _ = await refused(stub.GetDataset(v1.GetDatasetRequest(dataset_id=one.dataset_id)))
    assert code == grpc.StatusCode.NOT_FOUND


async def test_nothing_of_a_finished_upload_stays_where_it_arrived(stub, tmp_path):
    await upload(stub, FILES)
    async with asyncio.timeout(10):
        while any((tmp_path / "work/uploads/local").iterdir()):
            await asyncio.sleep(0.02)


def test_late_uploads_are_thrown_away(database_url, tmp_path):
    database = open_database(database_url)
    start = Start(str(uuid.uuid4()), Options("late"), [ExpectedFile("a.png", 4)])
    early = Uploads(DatasetRecords(database, 0), tmp_path, seconds=3600)
    late = Uploads(DatasetRecords(database, 0), tmp_path, seconds=-1)
    with early.stream(tenants.LOCAL, start) as stream:
        stream.write(b"ab")
    assert early.expire() == 0
    with late.stream(tenants.LOCAL, start):
        assert late.expire() == 0, "somebody is sending it"
    assert late.expire() == 1
    assert not late.folder_of(tenants.LOCAL, start.upload_id).exists()
    database.close()


def listing(*files: v1.UploadFile) -> v1.UploadStart:
    return v1.UploadStart(upload_id=str(uuid.UUID(int=7)), files=files)


STARTED = v1.UploadDatasetRequest(start=start_of(FILES))


@pytest.mark.parametrize(
    ("start", "field"),
    [
        (start_of(FILES, upload_id=""), "start.upload_id"),
        (start_of(FILES, upload_id="seven"), "start.upload_id"),
        (start_of({}), "start.files"),
        (start_of({"../a.png": b"1"}), "start.files[0].path"),
        (start_of({"/etc/passwd": b"1"}), "start.files[0].path"),
        (start_of({"a/../../b": b"1"}), "start.files[0].path"),
        (start_of({"a\\b": b"1"}), "start.files[0].path"),
        (start_of({"./a": b"1"}), "start.files[0].path"),
        (start_of({"a//b": b"1"}), "start.files[0].path"),
        (start_of({"a\nb": b"1"}), "start.files[0].path"),
        (start_of({"": b"1"}), "start.files[0].path"),
        (start_of({"é" * 513: b"1"}), "start.files[0].path"),
        (start_of(FILES, display_name="n" * 129), "start.display_name"),
        (start_of(FILES, kind=9), "start.kind"),
        (start_of(FILES, bad_files=9), "start.bad_files"),
        (start_of(FILES, offset=len(JOINED) + 1), "start.offset"),
        (start_of(FILES, offset=1), "start.offset"),
        (start_of(FILES, labels={str(n): "" for n in range(17)}), "start.labels"),
        (start_of(FILES, labels={"k" * 65: ""}), "start.labels"),
        (start_of(FILES, labels={"k": "v" * 513}), "start.labels"),
        (listing(v1.UploadFile(path="a", size_bytes=2**64 - 1)), "start.files[0].size_bytes"),
        (listing(v1.UploadFile(path="a", sha256="AB")), "start.files[0].sha256"),
        (listing(*[v1.UploadFile(path="a")] * 2), "start.files[1].path"),
        (listing(*[v1.UploadFile(path="a")] * 100_001), "start.files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_field_is_named(one_stub, start, field):
    code, message, found = await refused(send(one_stub, start, b""))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert found == field
    assert field in message


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "start"),
        ([v1.UploadDatasetRequest(chunk=b"a")], "start"),
        ([STARTED] * 2, "start"),
        ([STARTED, v1.UploadDatasetRequest()], "part"),
        ([STARTED, v1.UploadDatasetRequest(chunk=b"")], "chunk"),
        (
            [
                STARTED,
                v1.UploadDatasetRequest(chunk=b"a" * (2**22 + 1)),
            ],
            "chunk",
        ),
    ],
)
async def test_a_bad_message_is_named(one_stub, messages, field):
    code, _, found = await refused(one_stub.UploadDataset(iter(messages)))
    assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, field)
