"""Between protobuf JSON and serialized messages."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from gateway.routes.body import MAX_DEPTH
from services.common.errors import ServiceError, invalid

_UNKNOWN = re.compile(r'has no field named "(?P<field>[^"]*)" at "(?P<at>[^"]*)"')
_AT = re.compile(r" at (?P<at>[\w.\[\]]+)\.?$")
_FIELDS = re.compile(r"'(\w+)'")
_STEP = re.compile(r"^Failed to parse (?P<field>\w+) field: ")


def to_message(value: dict[str, Any], message_type: type[Message]) -> bytes:
    """The serialized message that ``value`` describes. Raises INVALID_ARGUMENT naming the field."""
    message = message_type()
    try:
        json_format.ParseDict(value, message, max_recursion_depth=MAX_DEPTH)
    except json_format.ParseError as error:
        raise _bad_field(str(error)) from None
    except (TypeError, ValueError, AttributeError, RecursionError):
        # json_format lets some of these through for values of the wrong shape.
        raise invalid("request", f"does not fit {message_type.DESCRIPTOR.full_name}") from None
    return message.SerializeToString()


def to_json(message: bytes, message_type: type[Message]) -> str:
    """The protobuf JSON of a serialized message, on one line."""
    value = json_format.MessageToDict(message_type.FromString(message))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _bad_field(text: str) -> ServiceError:
    """Make a violation out of what json_format says, e.g. ``Failed to parse n field: Value out of range``."""
    if unknown := _UNKNOWN.search(text):
        name = unknown["field"]
        path = ".".join([*unknown["at"].split(".")[1:], name])
        close = difflib.get_close_matches(name, _FIELDS.findall(text), n=1)
        return invalid(path, f"there is no such field{f'; did you mean {close[0]}?' if close else ''}")
    steps: list[str] = []
    rest = text.splitlines()[0] if text else ""
    while step := _STEP.match(rest):
        steps.append(step["field"])
        rest = rest[step.end() :]
    if at := _AT.search(rest):
        steps = at["at"].rstrip(".").split(".")[1:]
        rest = rest[: at.start()]
    return invalid(".".join(steps) or "request", rest)
