"""Structured logs: one JSON object a line, with the request id, never with prompts or keys."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextvars import ContextVar

from services.common.hiding import Hiding

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the call being served in this task; empty outside calls."""
trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace that the call is part of, 32 hexadecimal digits; empty where nobody traces."""

# Attributes that every LogRecord has; anything else came in through `extra=`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._hiding = Hiding(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: time (UTC, milliseconds), level, service, logger, message, then extras."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call := request_id.get():
            line["request_id"] = call
        if traced := trace_id.get():
            line["trace_id"] = traced
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return self._hiding(json.dumps(line, default=str, ensure_ascii=False))


_NOISY = (
    "asyncio",
    "grpc._cython.cygrpc",
    "urllib3",
    "httpx",
    "httpx2",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "onnx_ir",
)


def configure(service: str, level: str = "info") -> None:
    """Send every log of this process to stderr as JSON lines. ``level``: debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It warns of every weight that a graph is made without, which is on purpose.
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
