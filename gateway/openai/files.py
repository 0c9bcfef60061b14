"""``/v1/files``: data sets, by OpenAI's name for them. A file's id is the data set's."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, WithJsonSchema

from gateway.caller import Caller
from gateway.openai.answer import Answer
from gateway.openai.body import Fields
from gateway.openai.form import Upload
from gateway.openai.paging import Page, page_of
from pequod.finetune import v1
from services.common.errors import Code, Reason, ServiceError

_SERVICE = "/pequod.finetune.v1.DatasetService/"
UPLOAD, GET, LIST, DELETE = (
    f"{_SERVICE}{name}" for name in ("UploadDataset", "GetDataset", "ListDatasets", "DeleteDataset")
)
PURPOSE: Final = "fine-tune"
_CHUNK = 1 << 20
_CHECK_SECONDS = 60.0
"""That a caller waits at most to hear of what kind its data are."""
_STATUS = {v1.DATASET_STATE_READY: "processed", v1.DATASET_STATE_FAILED: "error"}


class FileBody(Fields):
    """An upload: texts (.txt, .jsonl), conversations (.jsonl) or pictures (.zip, .png ...)."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    refused: ClassVar = {"expires_after": "data sets stay until they are deleted"}

    file: Annotated[Upload, WithJsonSchema({"type": "string", "format": "binary"})]
    purpose: Literal["fine-tune"] = PURPOSE


async def upload(body: FileBody, caller: Caller) -> Answer:
    """Keep a file; it is checked meanwhile."""
    reply = await caller.sent(UPLOAD, _parts(body.file))
    return _shown(reply.dataset)


def _parts(file: Upload) -> Iterator[v1.UploadDatasetRequest]:
    name = file.filename or "file"
    start = v1.UploadStart(
        upload_id=str(uuid.uuid4()),
        display_name=name[:128],
        files=[v1.UploadFile(path=name, size_bytes=len(file))],
    )
    yield v1.UploadDatasetRequest(start=start)
    for begin in range(0, len(file), _CHUNK):
        yield v1.UploadDatasetRequest(chunk=bytes(file[begin : begin + _CHUNK]))


async def get_file(path: Mapping[str, Any], caller: Caller) -> Answer:
    """A file as it stands."""
    return _shown(await _dataset(path["file"], caller))


async def list_files(query: Page, caller: Caller) -> Answer:
    """Files, newest first."""
    found = await caller.every(LIST, v1.ListDatasetsRequest(), "datasets")
    return page_of(query, [_shown(each) for each in found])


async def delete_file(path: Mapping[str, Any], caller: Caller) -> Answer:
    """Forget a file. Refused while a job uses it."""
    await caller.one(DELETE, v1.DeleteDatasetRequest(dataset_id=path["file"]))
    return {"id": path["file"], "object": "file", "deleted": True}


async def checked(dataset_id: str, caller: Caller) -> v1.Dataset:
    """A data set once its check is over. Raises FAILED_PRECONDITION where that takes long."""
    ends = time.monotonic() + _CHECK_SECONDS
    while (dataset := await _dataset(dataset_id, caller)).state not in _STATUS:
        if time.monotonic() > ends:
            why = f"data set {dataset_id} is still being checked; try again later, or say recipe"
            raise ServiceError(Code.FAILED_PRECONDITION, Reason.DATASET_NOT_READY, why)
        await asyncio.sleep(0.1)
    return dataset


async def _dataset(dataset_id: str, caller: Caller) -> v1.Dataset:
    dataset: v1.Dataset = (await caller.one(GET, v1.GetDatasetRequest(dataset_id=dataset_id))).dataset
    return dataset


def _shown(dataset: v1.Dataset) -> dict[str, Any]:
    return {
        "id": dataset.dataset_id,
        "object": "file",
        "bytes": dataset.size_bytes,
        "created_at": dataset.create_time.seconds,
        "filename": dataset.display_name,
        "purpose": PURPOSE,
        "status": _STATUS.get(dataset.state, "uploaded"),
        "status_details": dataset.error or None,
    }
