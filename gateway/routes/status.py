"""Liveness and readiness of the gateway over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.health import Health


def public_status(health: Health) -> list[Route]:
    """``/healthz``: the process lives. ``/readyz``: every service can be reached, with who is where."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        report = health.report()
        return JSONResponse(report, status_code=200 if report["ready"] else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
