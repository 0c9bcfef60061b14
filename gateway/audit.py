"""Who changed what: one JSON object a line, appended."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.common.hiding import Hiding

_logger = logging.getLogger("pequod.gateway.audit")


class AuditLog:
    """Appends to a file that others may rotate: it is opened for each line."""

    def __init__(self, path: Path | None) -> None:
        """Without a path the lines go to the process's log."""
        self._path = path
        self._hiding = Hiding(os.environ)

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add ``entry`` with the time. What cannot be written goes to the process's log instead."""
        if self._path is None:
            _logger.info("audit", extra={"entry": dict(entry)})
            return
        line = self._hiding(
            json.dumps({"time": f"{datetime.now(UTC):%FT%T.%fZ}", **entry}, ensure_ascii=False)
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(
                    descriptor, line.encode() + b"\n"
                )  # one write: lines of several processes stay whole
            finally:
                os.close(descriptor)
        except OSError as error:
            _logger.error("audit line not written", extra={"entry": line, "error": str(error)})
