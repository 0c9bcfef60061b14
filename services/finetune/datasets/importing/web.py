"""https:// - one file from the public web; addresses inside any private network are refused."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urljoin, urlunsplit

from services.common.web import Address, SecureConnection, ended_within, is_public
from services.finetune.datasets.importing.source import Got, SourceFailed, SourceFile

_CHUNK = 1 << 20
_SECONDS, _ANSWER_SECONDS = 30.0, 60.0
"""Without a byte; until the content begins."""
_PATIENCE, _SLOWEST = 60.0, 1024
"""Seconds after which the content must have come at so many bytes a second."""
_REDIRECTS = 5
_ANOTHER_PLACE = frozenset({301, 302, 303, 307, 308})


class WebSource:
    """``allowed`` raises ServiceError for a place that may not be read; asked for each redirect too."""

    def __init__(
        self,
        uri: SplitResult,
        allowed: Callable[[str], SplitResult],
        public: Callable[[Address], bool] = is_public,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """``public``: which addresses may be connected to; ``trust``: whose certificates count."""
        self._uri = uri
        self._allowed = allowed
        self._public = public
        self._trust = trust or ssl.create_default_context()

    def list(self) -> Sequence[SourceFile]:
        """The one file; how large it is shows when it comes."""
        name = PurePosixPath(unquote(self._uri.path)).name or self._uri.hostname or "file"
        return [SourceFile(name, -1, urlunsplit(self._uri))]

    def fetch(self, file: SourceFile, target: Path, got: Got) -> None:
        """Follow redirects, then stream the file to disk."""
        place = file.place
        for _ in range(_REDIRECTS + 1):
            elsewhere = self._get(place, target, got)
            if elsewhere is None:
                return
            place = elsewhere
        raise SourceFailed(f"{file.place} leads on and on, more than {_REDIRECTS} times")

    def _get(self, place: str, target: Path, got: Got) -> str | None:
        """Fetch ``place``; returns where it leads instead, if it does."""
        parts = self._allowed(place)
        if parts.scheme != "https" or not parts.hostname:
            raise SourceFailed(f"{place[:200]} is no https:// address")
        connection = SecureConnection(parts.hostname, parts.port or 443, _SECONDS, self._public, self._trust)
        try:
            path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            headers = {"user-agent": "pequod", "accept-encoding": "identity"}
            with ended_within(connection, _ANSWER_SECONDS):
                connection.request("GET", path, headers=headers)
                reply = connection.getresponse()
            if reply.status in _ANOTHER_PLACE and (location := reply.getheader("location")):
                return urljoin(place, location)
            if reply.status != 200:
                raise SourceFailed(f"{place[:200]} answers {reply.status} {reply.reason[:80]}")
            _save(reply, target, got)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise SourceFailed(f"{place[:200]} cannot be read: {error}") from None
        finally:
            connection.close()
        return None


def _save(reply: http.client.HTTPResponse, target: Path, got: Got) -> None:
    done, began = 0, time.monotonic()
    with target.open("wb") as copy:
        while chunk := reply.read1(_CHUNK):
            done += len(chunk)
            taken = time.monotonic() - began
            if taken > _PATIENCE and done < taken * _SLOWEST:
                raise SourceFailed(f"it comes at less than {_SLOWEST} bytes a second")
            got(done)
            copy.write(chunk)
    if reply.length:  # http.client ends quietly when the connection breaks
        raise SourceFailed(f"the connection broke after {done:,} bytes")
