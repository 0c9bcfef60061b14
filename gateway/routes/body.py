"""Reads a request's body as JSON, whatever a caller may send instead."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from gateway.middleware.sanity import too_large
from services.common.errors import Code, Reason, ServiceError
from services.common.rpc.server import MAX_MESSAGE_BYTES

# A caller that sends its body more slowly than this holds a connection for nothing.
BODY_SECONDS = 60.0
# Deeper than any message of the API; json and protobuf recurse.
MAX_DEPTH = 64
# A body between the limit and this is read and thrown away before the refusal: many clients send
# all of it before they read the answer, and would see a broken connection instead.
_DISCARDED = 4 * MAX_MESSAGE_BYTES
# From here on parsing takes long enough to keep other calls waiting.
_LARGE = 256 * 1024


class CallerLeft(Exception):
    """The caller closed the connection before the end of its body."""


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises ServiceError naming what is wrong, and where."""
    body = await read_bytes(request)
    if len(body) < _LARGE:
        return parse(body)
    return await asyncio.to_thread(parse, body)


async def read_bytes(request: Request) -> bytes:
    """The whole body. Raises ServiceError for one that is too large or too slow, CallerLeft."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > _DISCARDED:
        raise too_large(f"the body has {declared} bytes")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > _DISCARDED:
                    break
                chunks.append(chunk if size <= MAX_MESSAGE_BYTES else b"")
    except TimeoutError:
        raise ServiceError(
            Code.DEADLINE_EXCEEDED, Reason.DEADLINE, f"the body did not arrive within {BODY_SECONDS:g} s"
        ) from None
    except ClientDisconnect:
        raise CallerLeft from None
    if size > MAX_MESSAGE_BYTES:
        raise too_large(f"the body has {declared or f'over {MAX_MESSAGE_BYTES}'} bytes")
    return b"".join(chunks)


def parse(body: bytes) -> dict[str, Any]:
    """``body`` as a JSON object; an empty body stands for ``{}``."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except json.JSONDecodeError as error:
        raise _malformed(
            f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except ValueError:
        raise _malformed("the body holds a number of thousands of digits") from None  # int() has a limit
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise _malformed(f"the body must be a JSON object, not {_kind(value)}")
    _check_depth(value)
    if "\\ud" in text.lower():
        _check_characters(value)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _malformed(f"field {twice!r} stands twice in one object")
    return found


def _no_constants(name: str) -> NoReturn:
    raise _malformed(f'{name} is not JSON; in a number field write it as a string, "{name}"')


def _check_depth(value: Any) -> None:
    """Raise when ``value`` is nested more deeply than MAX_DEPTH."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return
    raise _too_deep()


def _check_characters(value: Any) -> None:
    """Raise for half of a pair of escapes, which is no character."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise _malformed(
            f"{half} is half of a pair that stands for a character, and its other half is missing"
        ) from None


def _children(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value
    return [inner for inner in values if isinstance(inner, dict | list)]


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _malformed(message: str) -> ServiceError:
    return ServiceError(Code.INVALID_ARGUMENT, Reason.MALFORMED_JSON, message)


def _too_deep() -> ServiceError:
    return _malformed(f"the body is nested more than {MAX_DEPTH} levels deep")
