"""What the gateway shows services and trusts of them changes with its files, for new connections."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from fakes import GENERATE, GENERATE_STREAM, METHODS, FakeBackend, gateway
from grpc_health.v1 import health, health_pb2_grpc

from gateway.settings import BackendTls
from gateway.upstream.backend import Backend
from gateway.upstream.trust import BackendTrust
from services.common.rpc.server import SERVER_OPTIONS
from services.common.rpc.tls import ServerTls, TlsSettings
from tests.ports import lasting_ports
from tests.unit.common.certificates import Authority

ENDS = "pequod_certificate_expires_timestamp_seconds"


@pytest.fixture
def first():
    return Authority("first")


@pytest.fixture
def files(first, tmp_path):
    """Of the gateway."""
    return of_gateway(first, tmp_path)


def of_gateway(authority, folder):
    ca = folder / "ca.crt"
    beside = ca.with_suffix(".new")
    beside.write_bytes(authority.certificate)
    beside.replace(ca)
    return BackendTls(ca, *authority.issue("gateway").write(folder, "gateway"))


class Unwatched(health.aio.HealthServicer):
    """Ends each watch at once, over a connection that stays."""

    async def Watch(self, request, context):
        await context.abort(grpc.StatusCode.CANCELLED, "not now")


@contextlib.asynccontextmanager
async def service(authority, folder, port, watched=True):
    """Takes only callers with a certificate of ``authority``."""
    certificate, key = authority.issue().write(folder, "service")
    ca = folder / "clients.crt"
    ca.write_bytes(authority.certificate)
    backend = FakeBackend()
    if not watched:
        backend.health = Unwatched()
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((backend,))
    health_pb2_grpc.add_HealthServicer_to_server(backend.health, server)
    server.add_secure_port(f"127.0.0.1:{port}", ServerTls(TlsSettings(certificate, key, ca)).credentials())
    await backend.serving(True)
    await server.start()
    try:
        yield backend
    finally:
        await server.stop(None)


async def test_a_connection_that_is_made_anew_goes_by_the_new_files(first, files, tmp_path):
    (port,) = lasting_ports(1)
    second = Authority("second")
    async with contextlib.AsyncExitStack() as stack:
        async with service(first, tmp_path, port):
            door = await stack.enter_async_context(
                gateway(settings={"backend_tls": files}, sampler=[f"127.0.0.1:{port}"])
            )
            assert await door.stub(GENERATE)(b"one") == b"one"
            of_gateway(second, tmp_path)
        async with asyncio.timeout(30), service(second, tmp_path, port):
            await door.until(False)
            await door.until(True)
            assert await door.stub(GENERATE)(b"two") == b"two"


async def test_files_that_a_service_does_not_like_end_no_connection(first, files, tmp_path):
    (port,) = lasting_ports(1)
    async with (
        service(first, tmp_path, port) as backend,
        gateway(settings={"backend_tls": files}, sampler=[f"127.0.0.1:{port}"]) as door,
    ):
        of_gateway(Authority("strangers"), tmp_path)
        assert door.sample(ENDS, certificate="PEQUOD_BACKEND_TLS_CERT") > 0  # read again by now
        assert await door.stub(GENERATE)(b"on") == b"on"
        assert backend.calls() == 1


async def test_calls_on_a_channel_that_was_replaced_go_on(first, files, tmp_path):
    (port,) = lasting_ports(1)
    release, method = asyncio.Event(), METHODS[GENERATE_STREAM]

    async def two(request, context):
        await context.write(b"first")
        await release.wait()
        await context.write(b"second")

    async with asyncio.timeout(30), service(first, tmp_path, port, watched=False) as fake:
        fake.on(GENERATE_STREAM, two)
        backend = Backend(f"127.0.0.1:{port}", BackendTrust(files).credentials)
        stub = backend.stub(method)
        call = stub(b"")
        assert await call.read() == b"first"
        watching = asyncio.create_task(backend.watch(lambda: None))
        of_gateway(first, tmp_path)
        while backend.stub(method) is stub:
            await asyncio.sleep(0.01)
        watching.cancel()
        release.set()
        assert await call.read() == b"second"
        await backend.close()


async def test_the_ends_of_what_it_holds_are_metrics(first, files, tmp_path):
    certificate, key = first.issue().write(tmp_path, "door")
    settings = {"backend_tls": files, "tls": TlsSettings(certificate, key)}
    async with gateway(settings=settings, wait=False, sampler=["127.0.0.1:1"]) as door:
        text = (await door.http.get(f"{door.admin}/metrics")).text
    for name in ("PEQUOD_BACKEND_TLS_CA", "PEQUOD_BACKEND_TLS_CERT", "PEQUOD_GATEWAY_TLS_CERT"):
        assert f'{ENDS}{{certificate="{name}"}}' in text


def test_credentials_are_the_same_until_the_files_change(first, files, tmp_path):
    trust = BackendTrust(files)
    before = trust.credentials()
    assert trust.credentials() is before
    of_gateway(first, tmp_path)
    assert trust.credentials() is not before
    assert trust.held()["PEQUOD_BACKEND_TLS_CERT"] == files.certificate.read_bytes()


@pytest.mark.parametrize("spoil", ["key", "certificate", "authorities"])
def test_files_that_do_not_fit_leave_those_of_before(first, files, spoil, caplog):
    trust = BackendTrust(files)
    before, held = trust.credentials(), trust.held()
    getattr(files, spoil).write_bytes(first.issue().key)
    assert trust.credentials() is before
    assert trust.held() == held
    assert "certificate for services not read again" in caplog.text


def test_without_authorities_there_is_no_tls():
    trust = BackendTrust(BackendTls())
    assert trust.credentials() is None
    assert trust.held() == {}
