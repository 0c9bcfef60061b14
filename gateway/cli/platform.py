"""``pequod up``, ``serve`` and ``status``: the processes of the platform."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import budgets, output
from gateway.supervisor import BadStartError, ProcessSpec, Supervisor
from services.common.catalogue import SERVICES, entry
from services.common.rpc.process import BAD_START
from services.common.rpc.server import stop_event

READY_TIMEOUT = 60.0  # seconds until `up` stops waiting for the table; the processes go on
GATEWAY = "gateway"

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="gRPC port.", min=0, max=65535)]


def up(host: Host = None, port: Port = None) -> None:
    """Start every service and the gateway, and keep them running until Ctrl-C."""
    environ = dict(os.environ)
    if host is not None:
        environ["PEQUOD_HOST"] = host
    if port is not None:
        environ["PEQUOD_GATEWAY_PORT"] = str(port)
    raise typer.Exit(asyncio.run(_up(environ)))


async def _up(environ: Mapping[str, str]) -> int:
    stop = stop_event()
    supervisor = Supervisor(_specs(environ), Path("var/log"), output.note)
    output.note(f"Starting {len(SERVICES) + 1} processes; one log file each under var/log")
    announce = asyncio.create_task(_announce(environ))
    try:
        await supervisor.run(stop)
    except BadStartError as error:
        output.fail(str(error))
        return BAD_START
    finally:
        announce.cancel()
    output.note("Stopped; no process is left running.")
    return 0


def _specs(environ: Mapping[str, str]) -> list[ProcessSpec]:
    """The gateway first (so that it ends first), then the services, which stay on loopback behind it."""
    gateway = ProcessSpec(GATEWAY, (sys.executable, "-m", "gateway"), dict(environ))
    services = [
        ProcessSpec(s.name, (sys.executable, "-m", s.module), {**environ, "PEQUOD_HOST": "127.0.0.1"})
        for s in SERVICES
    ]
    return [gateway, *services]


async def _announce(environ: Mapping[str, str]) -> None:
    """Print the table of addresses once the gateway says that every service is ready."""
    started = time.monotonic()
    while time.monotonic() - started < READY_TIMEOUT:
        state = await asyncio.to_thread(readiness, _http_base(environ))
        if state is not None and state.get("ready"):
            output.addresses(_addresses(environ), time.monotonic() - started)
            return
        await asyncio.sleep(0.1)
    output.note(f"Not ready after {READY_TIMEOUT:g} s; `pequod status` and var/log say why.")


def _addresses(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Rows of (what, address, what for)."""
    host = environ.get("PEQUOD_HOST", "127.0.0.1")
    rows = [
        ("gateway gRPC", f"{host}:{environ.get('PEQUOD_GATEWAY_PORT', '50051')}", "every service"),
        ("gateway HTTP", _http_base(environ), "the page, JSON, /healthz, /readyz"),
        ("gateway admin", f"http://{host}:{environ.get('PEQUOD_GATEWAY_ADMIN_PORT', '9050')}", "/metrics"),
    ]
    for service in SERVICES:
        key = f"PEQUOD_{service.name.upper()}"
        grpc_port = environ.get(f"{key}_PORT", str(service.port))
        side_port = environ.get(f"{key}_SIDE_PORT", str(service.side_port))
        rows.append((service.name, f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{side_port}/metrics"))
    return rows


def _http_base(environ: Mapping[str, str]) -> str:
    host = environ.get("PEQUOD_HOST", "127.0.0.1")
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    return f"http://{shown}:{environ.get('PEQUOD_GATEWAY_HTTP_PORT', '8080')}"


def readiness(base: str) -> dict[str, Any] | None:
    """What the gateway's /readyz says; None when nothing answers there."""
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=2) as reply:
            return dict(json.load(reply))
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))
    except (OSError, ValueError):
        return None


def serve(
    service: Annotated[str, typer.Argument(help="gateway, or a service's name.")],
    host: Host = None,
    port: Port = None,
) -> None:
    """Run one process in the foreground, as `up` runs it."""
    if service != GATEWAY:
        try:
            module = entry(service).module
        except KeyError as error:
            raise typer.BadParameter(f"{error.args[0]}, gateway") from None
    else:
        module = GATEWAY
    if host is not None:
        os.environ["PEQUOD_HOST"] = host
    if port is not None:
        os.environ[f"PEQUOD_{service.upper()}_PORT"] = str(port)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def status(
    host: Annotated[str, typer.Option(help="Host of the gateway.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Public HTTP port of the gateway.")] = None,
    as_json: output.Json = False,
) -> None:
    """Say which services are ready, behind which backends, and what they hold of memory and disks."""
    base = _http_base({**os.environ, "PEQUOD_HOST": host, **_http_port(port)})
    state = readiness(base)
    if state is None:
        output.fail(f"no gateway answers at {base}; start one with `pequod up`")
        raise typer.Exit(1)
    found, why_not = budgets.resources(base)
    output.status(base, {**state, "resources": found}, as_json)
    if not as_json:
        budgets.table(found, why_not)
    raise typer.Exit(0 if state.get("ready") else 1)


def _http_port(port: int | None) -> dict[str, str]:
    return {} if port is None else {"PEQUOD_GATEWAY_HTTP_PORT": str(port)}
