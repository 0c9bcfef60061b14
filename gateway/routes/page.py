"""The page to play on, at ``/``: files read once, and headers that let it reach nothing but this gateway."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_FOLDER = Path(__file__).parents[1] / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, by the end of its name; anything else in the folder is not."""
_START = "index.html"

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",  # pictures come as base64, and are painted on a canvas
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",  # text of models never becomes markup
)
SECURITY: Mapping[str, str] = {
    "content-security-policy": "; ".join(_POLICY),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class _File:
    """One file, with the tag that a browser asks by whether it changed."""

    content: bytes
    media_type: str
    tag: str

    async def __call__(self, request: Request) -> Response:
        """The file, or 304 for who has it. Browsers ask every time, so that an upgrade is seen at once."""
        headers = {**SECURITY, "etag": self.tag, "cache-control": "no-cache"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def page() -> list[BaseRoute]:
    """A route for each file: no other name, however it is spelt, leads to the disk."""
    files = {
        path.relative_to(_FOLDER).as_posix(): _read(path)
        for path in sorted(_FOLDER.rglob("*"))
        if path.suffix in _TYPES
    }
    return [
        Route("/", files[_START].__call__, methods=["GET"]),
        *(Route(f"/page/{name}", file.__call__, methods=["GET"]) for name, file in files.items()),
    ]


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
