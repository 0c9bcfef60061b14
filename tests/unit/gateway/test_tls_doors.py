"""TLS at both doors and to the services: who gets in, and certificates that change while it runs."""

from __future__ import annotations

import ssl

import grpc
import httpx
import pytest
from cryptography import x509
from fakes import GENERATE, FakeBackend, backends, gateway
from grpc_health.v1 import health_pb2_grpc

from gateway.settings import BackendTls
from gateway.upstream.trust import BackendTrust
from services.common.rpc.tls import ServerTls, TlsSettings
from services.common.settings import SettingsError
from tests.unit.common.certificates import Authority

SECURE = {"wait": False}


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def settings(authority, tmp_path):
    certificate, key = authority.issue().write(tmp_path, "server")
    return TlsSettings(certificate, key)


@pytest.fixture
async def backend():
    async with backends(FakeBackend()) as (fake,):
        yield fake


async def call(door, authorities, issued=None):
    """One call over gRPC with TLS; waits for the backend to be seen."""
    parts = (authorities, issued.key, issued.certificate) if issued else (authorities,)
    credentials = grpc.ssl_channel_credentials(*parts)
    async with grpc.aio.secure_channel(door.target.replace("127.0.0.1", "localhost"), credentials) as channel:
        return await channel.unary_unary(GENERATE)(b"hello", timeout=5)


async def until_ready(door, context):
    async with httpx.AsyncClient(verify=context) as client:
        while not (await client.get(f"https://{door.base.partition('//')[2]}/readyz")).json()["ready"]:
            pass


def trusting(pem, issued_files=None):
    context = ssl.create_default_context(cadata=pem.decode())
    if issued_files:
        context.load_cert_chain(*issued_files)
    return context


async def test_both_doors_speak_tls(backend, settings, authority):
    async with gateway(settings={"tls": settings}, **SECURE, sampler=[backend]) as door:
        await until_ready(door, trusting(authority.certificate))
        assert await call(door, authority.certificate) == b"hello"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.channel.unary_unary(GENERATE)(b"", timeout=2)  # in the clear
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_new_certificate_is_shown_without_a_restart(backend, settings, authority, tmp_path):
    async with gateway(settings={"tls": settings}, **SECURE, sampler=[backend]) as door:
        await until_ready(door, trusting(authority.certificate))
        other = Authority("other")
        other.issue().write(tmp_path, "server")
        await until_ready(door, trusting(other.certificate))
        assert await call(door, other.certificate) == b"hello"
        with pytest.raises(grpc.aio.AioRpcError):
            await call(door, authority.certificate)


async def test_files_that_do_not_fit_leave_the_certificate_of_before(
    backend, settings, authority, tmp_path, caplog
):
    async with gateway(settings={"tls": settings}, **SECURE, sampler=[backend]) as door:
        await until_ready(door, trusting(authority.certificate))
        settings.key.write_bytes(authority.issue().key)
        await until_ready(door, trusting(authority.certificate))
        assert await call(door, authority.certificate) == b"hello"
    assert "certificate not read again" in caplog.text


async def test_clients_need_a_certificate_where_an_authority_is_named(backend, authority, tmp_path):
    certificate, key = authority.issue().write(tmp_path, "server")
    clients = Authority("clients")
    (tmp_path / "clients.crt").write_bytes(clients.certificate)
    settings = TlsSettings(certificate, key, tmp_path / "clients.crt")
    ours, theirs = clients.issue("me"), Authority("strangers").issue("me")
    async with gateway(settings={"tls": settings}, **SECURE, sampler=[backend]) as door:
        await until_ready(door, trusting(authority.certificate, ours.write(tmp_path, "me")))
        assert await call(door, authority.certificate, ours) == b"hello"
        for stranger in (None, theirs):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(door, authority.certificate, stranger)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(httpx.TransportError):
            await until_ready(door, trusting(authority.certificate))


async def test_the_gateway_speaks_tls_to_services_and_shows_itself(authority, tmp_path):
    certificate, key = authority.issue().write(tmp_path, "service")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    mine = authority.issue("gateway").write(tmp_path, "gateway")
    backend = FakeBackend()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((backend,))
    health_pb2_grpc.add_HealthServicer_to_server(backend.health, server)
    tls = ServerTls(TlsSettings(certificate, key, tmp_path / "ca.crt"))
    port = server.add_secure_port("127.0.0.1:0", tls.credentials())
    await backend.serving(True)
    await server.start()
    chosen = {"backend_tls": BackendTls(tmp_path / "ca.crt", *mine)}
    async with gateway(settings=chosen, sampler=[f"127.0.0.1:{port}"]) as door:
        assert await door.stub(GENERATE)(b"over tls") == b"over tls"
    await server.stop(None)


@pytest.mark.parametrize(("issued_to", "trusted"), [("localhost", True), ("somebody-else", False)])
async def test_a_service_found_by_name_must_show_a_certificate_of_that_name(
    authority, tmp_path, issued_to, trusted
):
    """Its replicas are called by their addresses, which no certificate names."""
    certificate, key = authority.issue(hosts=[x509.DNSName(issued_to)]).write(tmp_path, "service")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    backend = FakeBackend()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((backend,))
    health_pb2_grpc.add_HealthServicer_to_server(backend.health, server)
    port = server.add_secure_port("127.0.0.1:0", ServerTls(TlsSettings(certificate, key)).credentials())
    await backend.serving(True)
    await server.start()
    chosen = {"backend_tls": BackendTls(tmp_path / "ca.crt")}
    async with gateway(settings=chosen, wait=trusted, sampler=[f"localhost:{port}"]) as door:
        if trusted:
            assert await door.stub(GENERATE)(b"over tls") == b"over tls"
        else:
            with pytest.raises(grpc.aio.AioRpcError, match="service sampler is down"):
                await door.stub(GENERATE)(b"")
    await server.stop(None)


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_half_a_certificate_stops_the_start(settings, missing):
    half = TlsSettings(**{**vars(settings), missing: None})
    with pytest.raises(SettingsError, match="go together"):
        ServerTls(half)


def test_files_that_are_no_certificate_stop_the_start(settings, tmp_path):
    settings.certificate.write_text("nonsense")
    with pytest.raises(SettingsError, match="TLS of this listener"):
        ServerTls(settings)
    with pytest.raises(SettingsError, match="No such file"):
        ServerTls(TlsSettings(tmp_path / "none.crt", tmp_path / "none.key"))
    with pytest.raises(SettingsError, match="No such file"):
        BackendTrust(BackendTls(tmp_path / "none.crt"))
    (tmp_path / "ca").write_text("x")
    with pytest.raises(SettingsError, match="go together"):
        BackendTrust(BackendTls(tmp_path / "ca", tmp_path / "ca"))
