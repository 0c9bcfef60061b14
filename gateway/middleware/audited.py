"""Writes down the calls that change something: who, what, about which record, how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.message import Message

from gateway.audit import AuditLog
from gateway.call import BackendError, Call
from gateway.groups import changes
from gateway.methods import Method
from gateway.pipeline import Proceed
from gateway.request import first_message
from services.common.errors import Code, ServiceError

_TELLING = frozenset(
    (
        *("model", "name", "alias", "version", "job_id", "dataset_id", "upload_id", "checkpoint_id"),
        *("request_id", "recipe", "base", "uri", "start", "spec", "display_name"),
    )
)
"""Fields that say what a call is about. Texts of users are not among them."""
_LONGEST = 200


class Audited:
    """Stands after authentication, before everything that may refuse."""

    def __init__(self, methods: Mapping[str, Method], log: AuditLog) -> None:
        self._audited = {path for path, method in methods.items() if changes(method)}
        self._log = log

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Await the rest, then write."""
        if call.method.path not in self._audited:
            await proceed(call)
            return
        code, about = "CANCELLED", dict[str, str]()
        try:
            about = await _subject(call)
            await proceed(call)
            code = "OK"
        except (ServiceError, BackendError) as error:
            code = error.code.name
            raise
        except Exception:
            code = "INTERNAL"
            raise
        finally:
            self._write(call, code, about)

    def _write(self, call: Call, code: str, about: Mapping[str, str]) -> None:
        who = call.principal
        self._log.write(
            {
                "tenant": who.tenant,
                "key": who.key_id,
                "name": who.name,
                "method": call.method.path[1:],
                "about": about,
                "code": code,
                "request_id": call.request_id,
            }
        )


async def _subject(call: Call) -> dict[str, str]:
    """What the call is about; nothing where the service will have to say that it is no message."""
    try:
        return dict(_about(await first_message(call)))
    except ServiceError as error:
        if error.code is not Code.INVALID_ARGUMENT:
            raise
        return {}


def _about(message: Message) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        if field.name in _TELLING:
            if isinstance(value, Message):
                yield from _about(value)
            elif isinstance(value, str):
                yield field.name, value[:_LONGEST]
