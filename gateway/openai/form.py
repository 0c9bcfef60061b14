"""Reads a form with files, ``multipart/form-data``, as uploads of pictures come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.routes.body import read_bytes
from services.common.errors import ServiceError, invalid

MEDIA_TYPE = "multipart/form-data"
_FILES, _FIELDS = 16, 64
_FIELD_BYTES = 1 << 20
_PART = 256 * 1024


class Upload(bytes):
    """A file's bytes."""

    filename: str = ""


async def read_form(request: Request) -> dict[str, Any]:
    """Texts and files by field; ``name[]`` and a name that stands twice are lists.

    Raises INVALID_ARGUMENT for what is no form, ServiceError for one that is too large.
    """
    body = await read_bytes(request)

    async def stream() -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(body), _PART):
            yield body[begin : begin + _PART]
            await asyncio.sleep(0)  # other calls have their turn

    parser = MultiPartParser(
        request.headers, stream(), max_files=_FILES, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
    )
    try:
        return _by_field([(name, await _value(given)) for name, given in await _items(parser)])
    finally:
        for file in parser._files_to_close_on_error:  # the parser leaves some open, of a form that breaks off
            file.close()


async def _items(parser: MultiPartParser) -> list[tuple[str, UploadFile | str]]:
    try:
        return (await parser.parse()).multi_items()
    except (MultiPartException, KeyError, ValueError) as error:
        raise _no_form(str(getattr(error, "message", error))) from None


def _by_field(items: list[tuple[str, str | Upload]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        key = name.removesuffix("[]")
        if key in found:
            before = found[key] if isinstance(found[key], list) else [found[key]]
            found[key] = [*before, value]
        else:
            found[key] = [value] if name.endswith("[]") else value
    return found


async def _value(given: UploadFile | str) -> str | Upload:
    return given if isinstance(given, str) else await _file(given)


async def _file(given: UploadFile) -> Upload:
    file = Upload(await given.read())
    file.filename = given.filename or ""
    return file


def _no_form(why: str) -> ServiceError:
    return invalid("body", f"is no {MEDIA_TYPE}: {why}")
