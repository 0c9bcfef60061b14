"""Errors as OpenAI's clients read them: the status line, and ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

import re
from typing import Any

from google.rpc import error_details_pb2, status_pb2

from gateway.routes.errors import http_status

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_INNER = re.compile(r"^(?:sampling|stopping|structured|options|chat|spec)\.")
"""Messages inside a request of ours whose fields stand at the top in OpenAI's."""
_NAMES = {"prompt_ids": "prompt", "inputs": "input", "json_schema": "response_format", "init_image": "image"}


def body(status: status_pb2.Status, http: int | None = None) -> dict[str, Any]:
    """The JSON body of an error; its code is the reason from our catalogue."""
    reason, field = None, None
    info, violations = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(violations) and violations.field_violations:
            field = param(violations.field_violations[0].field)
    code = http or http_status(status)
    kind = _TYPES.get(code, "server_error" if code >= 500 else "invalid_request_error")
    return {"error": {"message": status.message, "type": kind, "param": field, "code": reason}}


def param(field: str) -> str:
    """Our path of a field as its name in OpenAI's request: ``sampling.top_p`` is ``top_p``."""
    inner = _INNER.sub("", field)
    head, *rest = re.split(r"(?=[.\[])", inner, maxsplit=1)
    return "".join((_NAMES.get(head, head), *rest))
