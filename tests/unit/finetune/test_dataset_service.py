"""DatasetService over real gRPC, on both databases: checks, lists, holds, deletion, what jobs read."""

from __future__ import annotations

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from pequod.finetune import v1
from services.common import tenants
from services.common.errors import Code, ServiceError
from services.finetune.database.settings import open_database
from services.finetune.datasets.checking.lines import Message
from services.finetune.datasets.dataset import Options, Progress
from services.finetune.datasets.records import DatasetRecords, hold, let_go
from services.finetune.datasets.working.leases import LeaseLost, Leases
from tests.unit.finetune.parts import chat, ended, picture, problems, running, upload, zipped
from tests.unit.serving import refused


async def test_the_report_comes_with_every_issue(stub):
    files = {
        "good.png": picture(1),
        "good.txt": b"a whale",
        "same.png": picture(1),
        "cut.png": picture(2)[:-60],
        "text.jpg": b"no picture",
        "tiny.png": picture(3, (3, 3)),
        "in.zip": zipped({"../up.png": picture(4), "ok.png": picture(5)}),
    }
    dataset = await upload(stub, files)
    assert dataset.state == v1.DATASET_STATE_READY
    assert problems(dataset) == {
        "same.png": "no_caption",
        "cut.png": "corrupt",
        "text.jpg": "unsupported_format",
        "tiny.png": "too_small",
        "in/../up.png": "unsafe_path",
        "in/ok.png": "no_caption",
    }
    report = dataset.report
    assert (report.files, report.skipped_files, report.examples) == (8, 4, 3)
    assert report.tokens == 2
    assert report.token_encoding.startswith("cl100k:")
    assert report.size_bytes == 2 * len(picture(1)) + len(b"a whale") + len(picture(5))
    assert dataset.size_bytes == len(picture(1)) + len(b"a whale") + len(picture(5)), "each content once"


async def test_a_strict_caller_gets_nothing_for_one_bad_file(stub, service):
    files = {"a.png": picture(1), "bad.png": b"x"}
    dataset = await upload(stub, files, bad_files=v1.BAD_FILE_POLICY_REFUSE)
    assert dataset.state == v1.DATASET_STATE_FAILED
    assert dataset.error == "bad.png is no PNG, JPEG, WEBP"
    assert problems(dataset)["bad.png"] == "unsupported_format"
    assert (dataset.size_bytes, dataset.digest) == (0, "")
    listed = await stub.ListDatasets(v1.ListDatasetsRequest())
    assert listed.used_bytes == 0


async def test_a_bomb_fails_within_the_quota(database_url, tmp_path):
    async with running(database_url, tmp_path, quota_bytes=5 * 2**20) as (stub, _):
        dataset = await upload(stub, {"z.zip": zipped({"big.txt": b"word " * 2**21})})
        assert dataset.state == v1.DATASET_STATE_FAILED
        assert "do not fit" in dataset.error
        again = await upload(stub, {"a.png": picture(1)})
        assert again.state == v1.DATASET_STATE_READY


async def test_lists_have_pages_newest_first_and_filters(stub):
    ids = []
    for number in range(5):
        files = {"a.txt": b"text"} if number % 2 else {"a.png": picture(number)}
        ids.append((await upload(stub, files)).dataset_id)
    await upload(stub, {"none.bin": b"\0"})
    seen, token = [], ""
    for _ in range(10):
        request = v1.ListDatasetsRequest(page_size=2, page_token=token, state=v1.DATASET_STATE_READY)
        page = await stub.ListDatasets(request)
        seen += [dataset.dataset_id for dataset in page.datasets]
        token = page.next_page_token
        if not token:
            break
    assert seen == ids[::-1]
    texts = await stub.ListDatasets(v1.ListDatasetsRequest(kind=v1.DATASET_KIND_TEXT))
    assert [dataset.dataset_id for dataset in texts.datasets] == [ids[3], ids[1]]
    failed = await stub.ListDatasets(v1.ListDatasetsRequest(state=v1.DATASET_STATE_FAILED))
    assert len(failed.datasets) == 1
    assert failed.datasets[0].report.issue_count == 1
    assert not failed.datasets[0].report.issues, "issues are left out of lists"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (v1.ListDatasetsRequest(page_size=1001), "page_size"),
        (v1.ListDatasetsRequest(page_token="x"), "page_token"),
        (v1.ListDatasetsRequest(page_token=base64.urlsafe_b64encode(b"[1]").decode()), "page_token"),
        (
            v1.ListDatasetsRequest(
                page_token=base64.urlsafe_b64encode(json.dumps([2**80, "ds-" + "a" * 26]).encode()).decode()
            ),
            "page_token",
        ),
        (v1.ListDatasetsRequest(kind=7), "kind"),
        (v1.ListDatasetsRequest(state=7), "state"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_list_is_refused(one_stub, request_, field):
    code, _, found = await refused(one_stub.ListDatasets(request_))
    assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("dataset_id", ["", "ds-1", "../x", "ds-" + "A" * 26])
async def test_a_bad_id_is_refused(one_stub, dataset_id):
    for call in (
        one_stub.GetDataset(v1.GetDatasetRequest(dataset_id=dataset_id)),
        one_stub.DeleteDataset(v1.DeleteDatasetRequest(dataset_id=dataset_id)),
    ):
        code, _, found = await refused(call)
        assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, "dataset_id")


async def test_an_unknown_id_is_not_found(stub):
    unknown = "ds-" + "0" * 26
    for call in (
        stub.GetDataset(v1.GetDatasetRequest(dataset_id=unknown)),
        stub.DeleteDataset(v1.DeleteDatasetRequest(dataset_id=unknown)),
    ):
        assert (await refused(call))[0] == grpc.StatusCode.NOT_FOUND


async def test_what_a_job_holds_is_not_deleted(service):
    stub, process = service
    dataset = await upload(stub, {"a.png": picture(1)})
    database = process.datasets.records.database
    database.write(lambda c: hold(c, tenants.LOCAL, dataset.dataset_id, "job ft-1"))
    request = v1.DeleteDatasetRequest(dataset_id=dataset.dataset_id)
    code, message, _ = await refused(stub.DeleteDataset(request))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "job ft-1" in message
    database.write(lambda c: let_go(c, tenants.LOCAL, dataset.dataset_id, "job ft-1"))
    assert (await stub.DeleteDataset(request)).freed_bytes == len(picture(1))


async def test_tenants_see_only_their_own(service):
    stub, process = service
    dataset = await upload(stub, {"a.png": picture(1)})
    records = process.datasets.records
    with pytest.raises(ServiceError) as caught:
        records.get("other", dataset.dataset_id)
    assert caught.value.code is Code.NOT_FOUND
    assert records.page("other", 10).datasets == []
    assert records.page("other", 10).used_bytes == 0
    with pytest.raises(ServiceError):
        process.datasets.delete("other", dataset.dataset_id)


async def test_jobs_read_pictures_with_their_captions(service):
    stub, process = service
    listed = json.dumps({"file": "b.png", "caption": "two"}).encode() + b"\nbad line\n"
    files = {"a.png": picture(1), "a.txt": b" one \n", "b.png": picture(2), "captions.jsonl": listed}
    dataset = await upload(stub, {**files, "bad.png": b"x"})
    pictures = process.datasets.open(tenants.LOCAL, dataset.dataset_id).pictures()
    assert [(each.path, each.captions) for each in pictures] == [("a.png", ("one",)), ("b.png", ("two",))]
    assert [each.file.read_bytes() for each in pictures] == [picture(1), picture(2)]


async def test_jobs_read_texts_and_conversations(service):
    stub, process = service
    texts = await upload(stub, {"b.jsonl": b'{"text": "two"}\nbad\n{"text": "three"}\n', "a.txt": b"one"})
    assert list(process.datasets.open(tenants.LOCAL, texts.dataset_id).texts()) == ["one", "two", "three"]
    chats = await upload(stub, {"c.jsonl": chat("hi", "hello") + b"{}\n"})
    reader = process.datasets.open(tenants.LOCAL, chats.dataset_id)
    assert list(reader.conversations()) == [(Message("user", "hi"), Message("assistant", "hello"))]
    with pytest.raises(ValueError, match="holds chat, not images"):
        reader.pictures()


async def test_only_ready_data_sets_are_opened(service):
    stub, process = service
    dataset = await upload(stub, {"none.bin": b"\0"})
    with pytest.raises(ServiceError) as caught:
        process.datasets.open(tenants.LOCAL, dataset.dataset_id)
    assert caught.value.code is Code.FAILED_PRECONDITION


async def test_a_data_set_that_brings_its_workers_down_is_given_up(database_url, tmp_path):
    database = open_database(database_url)
    records = DatasetRecords(database, 0)
    lost = records.create_import(tenants.LOCAL, Options("lost"), "https://example.com/x", "")
    leases = Leases(records, "another", seconds=-1)
    assert [leases.claim().attempt for _ in range(3)] == [1, 2, 3]
    database.close()
    async with running(database_url, tmp_path) as (stub, _):
        dataset = await ended(stub, lost.dataset_id)
    assert dataset.state == v1.DATASET_STATE_FAILED
    assert dataset.error == "the work on it was cut off 3 times"


def test_who_lost_the_lease_writes_nothing(database):
    records = DatasetRecords(database, 0)
    records.create_import(tenants.LOCAL, Options("one"), "https://example.com/x", "")
    slow, quick = Leases(records, "slow", seconds=-1), Leases(records, "quick", seconds=60)
    lost = slow.claim()
    held = quick.claim()
    assert held.epoch == lost.epoch + 1
    assert quick.claim() is None, "it is held"
    for write in (
        lambda: slow.renew(lost, Progress()),
        lambda: slow.failed(lost, "late"),
        lambda: slow.reserve(lost, 7),
        lambda: slow.imported(lost),
        lambda: slow.give_back(lost),
    ):
        with pytest.raises(LeaseLost):
            write()
    quick.failed(held, "done")
    assert records.get(tenants.LOCAL, held.dataset.dataset_id).error == "done"


def test_claims_are_handed_out_once(database):
    records = DatasetRecords(database, 0)
    for number in range(12):
        records.create_import(tenants.LOCAL, Options(str(number)), "https://example.com/x", "")

    def claim_all(name):
        leases = Leases(records, name, seconds=60)
        return [claim.dataset.dataset_id for claim in iter(leases.claim, None)]

    with ThreadPoolExecutor(4) as threads:
        claimed = [each for part in threads.map(claim_all, "abcd") for each in part]
    assert len(claimed) == len(set(claimed)) == 12


async def test_usage_and_time_stand_in_replies(stub):
    dataset = await upload(stub, {"a.png": picture(1)})
    reply = await stub.GetDataset(v1.GetDatasetRequest(dataset_id=dataset.dataset_id))
    assert reply.HasField("usage")
    assert not reply.HasField("progress")
    assert reply.dataset.create_time.seconds > 1_700_000_000
    assert (
        reply.dataset.digest
        == hashlib.sha256(f"a.png\0{hashlib.sha256(picture(1)).hexdigest()}\n".encode()).hexdigest()
    )
