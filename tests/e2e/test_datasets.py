"""Data sets through the real doors: uploads that break and go on, refusals, imports, the command line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import time
import uuid
import zipfile

import grpc
import numpy as np
import pytest
from PIL import Image

from pequod.finetune import v1
from tests.e2e.conftest import started
from tests.e2e.refusals import violated

QUOTA = 8 * 2**20


def picture(seed: int, side: int = 64) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A platform with a small quota and a folder to import from."""
    folder = tmp_path_factory.mktemp("datasets")
    (folder / "inbox").mkdir()
    variables = {
        "PEQUOD_FINETUNE_QUOTA_BYTES": str(QUOTA),
        "PEQUOD_FILE_ROOTS": str(folder / "inbox"),
        **{f"PEQUOD_{service}_PRELOAD": "" for service in ("SAMPLER", "TOKENIZER", "DIFFUSION")},
    }
    with started(folder, **variables) as platform:
        yield platform


@pytest.fixture(scope="module")
def stub(shop):
    with grpc.insecure_channel(shop.grpc) as channel:
        yield v1.DatasetServiceStub(channel)


def start_of(files: dict[str, bytes], **fields) -> v1.UploadStart:
    listed = [
        v1.UploadFile(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    ]
    return v1.UploadStart(**{"upload_id": str(uuid.uuid4()), "files": listed, **fields})


def requests_of(start: v1.UploadStart, data: bytes):
    yield v1.UploadDatasetRequest(start=start)
    for at in range(0, len(data), 4096):
        yield v1.UploadDatasetRequest(chunk=data[at : at + 4096])


def ended(stub, dataset: v1.Dataset) -> v1.Dataset:
    deadline = time.monotonic() + 90
    while dataset.state not in (v1.DATASET_STATE_READY, v1.DATASET_STATE_FAILED):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        with contextlib.suppress(grpc.RpcError):  # while the service is being started again
            dataset = stub.GetDataset(v1.GetDatasetRequest(dataset_id=dataset.dataset_id)).dataset
    return dataset


def upload(stub, files: dict[str, bytes], **fields) -> v1.Dataset:
    start = start_of(files, **fields)
    return ended(stub, stub.UploadDataset(requests_of(start, b"".join(files.values()))).dataset)


def problems(dataset: v1.Dataset) -> set[tuple[str, str]]:
    names = v1.FileProblem
    return {(issue.path, names.Name(issue.problem)) for issue in dataset.report.issues if issue.skipped}


def test_a_zip_of_pictures_with_captions(stub):
    files = {"pics.zip": zipped({"a.png": picture(1), "a.txt": b"a red square", "b.png": picture(2)})}
    dataset = upload(stub, files)
    assert dataset.state == v1.DATASET_STATE_READY, dataset.error
    assert (dataset.report.examples, dataset.report.captions_missing, dataset.report.tokens) == (2, 1, 3)


def test_one_corrupt_file_among_good_ones_is_named(stub):
    dataset = upload(stub, {"a.png": picture(3), "bad.png": picture(4)[:-80], "c.png": picture(5)})
    assert dataset.report.examples == 2
    assert problems(dataset) == {("bad.png", "FILE_PROBLEM_CORRUPT")}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"a.png": b"I am a text"}, "FILE_PROBLEM_UNSUPPORTED_FORMAT"),
        ({"a.png": picture(1, side=3)}, "FILE_PROBLEM_TOO_SMALL"),
        ({"b.zip": zipped({f"{n}.txt": b"\0" * 2**23 for n in range(10)})}, "FILE_PROBLEM_ARCHIVE_BOMB"),
        ({"b.zip": zipped({"../../evil.png": picture(1)})}, "FILE_PROBLEM_UNSAFE_PATH"),
        ({"b.zip": zipped({"in.zip": zipped({"a.png": picture(1)})})}, "FILE_PROBLEM_UNSUPPORTED_FORMAT"),
    ],
    ids=["text", "3-pixels", "bomb", "path", "nested"],
)
def test_what_cannot_be_used_fails_with_the_reason(stub, files, problem):
    dataset = upload(stub, files, kind=v1.DATASET_KIND_IMAGES)
    assert dataset.state == v1.DATASET_STATE_FAILED
    assert {name for _, name in problems(dataset)} == {problem}
    assert dataset.error.startswith("no pictures")


def test_a_path_that_leaves_is_refused_at_once(stub):
    with pytest.raises(grpc.RpcError) as caught:
        stub.UploadDataset(requests_of(start_of({"../a.png": b"x"}), b"x"))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert violated(caught.value) == "start.files[0].path"


def test_more_than_the_quota_is_refused_before_it_is_sent(stub):
    start = v1.UploadStart(
        upload_id=str(uuid.uuid4()), files=[v1.UploadFile(path="big.txt", size_bytes=QUOTA + 1)]
    )
    with pytest.raises(grpc.RpcError) as caught:
        stub.UploadDataset(requests_of(start, b""))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_upload_goes_on_after_kill_9_of_the_service(shop, stub):
    files = {f"{n}.png": picture(100 + n) for n in range(8)}
    data = b"".join(files.values())
    start = start_of(files)

    def dying():
        yield v1.UploadDatasetRequest(start=start)
        yield v1.UploadDatasetRequest(chunk=data[: len(data) // 2])
        while offset_of(stub, start) < len(data) // 2:
            time.sleep(0.02)
        os.kill(shop.child("services.finetune").pid, signal.SIGKILL)

    with pytest.raises(grpc.RpcError):
        stub.UploadDataset(dying(), timeout=60)
    shop.wait_ready()
    start.offset = offset_of(stub, start)
    assert start.offset == len(data) // 2
    dataset = ended(stub, stub.UploadDataset(requests_of(start, data[start.offset :])).dataset)
    assert dataset.report.examples == len(files)


def offset_of(stub, start: v1.UploadStart) -> int:
    try:
        return stub.GetUpload(v1.GetUploadRequest(upload_id=start.upload_id)).offset
    except grpc.RpcError:
        return -1


def test_a_folder_is_imported_and_followed(shop, stub):
    folder = shop.folder / "inbox/pics"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(200 + number))
    request = v1.ImportDatasetRequest(uri=folder.as_uri(), request_id=str(uuid.uuid4()))
    first, again = [list(stub.ImportDataset(request))[-1].dataset for _ in range(2)]
    assert first.dataset_id == again.dataset_id
    assert first.report.examples == 3


@pytest.mark.parametrize(
    "uri", ["file:///etc/passwd", "http://example.com/x", "s3://bucket/x", "https://a@b/"]
)
def test_what_may_not_be_imported_is_refused(stub, uri):
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ImportDataset(v1.ImportDatasetRequest(uri=uri)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert violated(caught.value) == "uri"


def test_the_metadata_service_of_a_cloud_is_not_asked(stub):
    replies = list(stub.ImportDataset(v1.ImportDatasetRequest(uri="https://169.254.169.254/latest")))
    assert replies[-1].dataset.state == v1.DATASET_STATE_FAILED
    assert "no public address" in replies[-1].dataset.error


def test_equal_content_is_stored_once_and_freed_last(stub):
    one, two = [upload(stub, {f"{name}.png": picture(300)}) for name in "ab"]
    freed = [
        stub.DeleteDataset(v1.DeleteDatasetRequest(dataset_id=each.dataset_id)).freed_bytes
        for each in (one, two)
    ]
    assert freed == [0, len(picture(300))]


def test_json_lists_and_describes(shop, stub):
    dataset = upload(stub, {"a.png": picture(400)}, display_name="over http")
    status, reply = shop.post(
        "pequod.finetune.v1.DatasetService/GetDataset", {"datasetId": dataset.dataset_id}
    )
    assert (status, reply["dataset"]["state"]) == (200, "DATASET_STATE_READY")
    status, reply = shop.post("pequod.finetune.v1.DatasetService/ListDatasets", {})
    assert "over http" in {each["displayName"] for each in reply["datasets"]}
    status, reply = shop.post("pequod.finetune.v1.DatasetService/UploadDataset", {})
    assert status == 501


def test_the_command_line_uploads_lists_shows_and_deletes(shop):
    folder = shop.folder / "mine"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(500))
    (folder / "a.txt").write_text("a square")
    (folder / "notes.bin").write_bytes(b"\0\1")
    sent = shop.run("datasets", "upload", str(folder))
    assert sent.returncode == 0, sent.stderr
    assert "notes.bin" in sent.stdout
    again = shop.run("datasets", "upload", str(folder), "--json")
    dataset = json.loads(again.stdout)["dataset"]
    assert dataset["displayName"] == "mine"
    assert dataset["datasetId"] in sent.stdout, "the same files are the same upload"
    assert dataset["datasetId"] in shop.run("datasets", "ls").stdout
    listed = json.loads(shop.run("datasets", "ls", "--json").stdout)
    assert dataset["datasetId"] in {each["datasetId"] for each in listed["datasets"]}
    assert dataset["digest"] in shop.run("datasets", "show", dataset["datasetId"]).stdout
    assert shop.run("datasets", "rm", dataset["datasetId"]).returncode == 0
    gone = shop.run("datasets", "show", dataset["datasetId"])
    assert gone.returncode == 1
    assert "NOT_FOUND" in gone.stderr


def test_the_command_line_fails_with_what_is_wrong(shop):
    strict = shop.folder / "strict"
    strict.mkdir()
    (strict / "a.png").write_bytes(picture(600))
    (strict / "b.png").write_bytes(b"text")
    done = shop.run("datasets", "upload", str(strict), "--strict")
    assert done.returncode == 1
    assert "b.png is no PNG" in done.stderr
    missing = shop.run("datasets", "upload", str(shop.folder / "none"))
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr
    imported = shop.run("datasets", "upload", "file:///etc/passwd")
    assert imported.returncode == 1
    assert "PEQUOD_FILE_ROOTS" in imported.stderr
