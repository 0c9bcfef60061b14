"""Imports from folders and the web: followed, repeated, gone on with, refused."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import os
import ssl
import threading
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pequod.finetune import v1
from services.common.errors import Reason, ServiceError
from services.common.settings import SettingsError
from services.finetune.datasets.importing import web as importing
from services.finetune.datasets.importing.opening import open_source
from services.finetune.datasets.importing.source import Allowed, SourceFailed
from services.finetune.datasets.importing.web import WebSource, is_public
from services.finetune.settings import FinetuneSettings
from tests.unit.finetune.parts import ended, picture, running, zipped
from tests.unit.serving import refused


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def request_for(path: Path, **fields) -> v1.ImportDatasetRequest:
    return v1.ImportDatasetRequest(uri=path.as_uri(), **fields)


async def followed(stub, request) -> list[v1.ImportDatasetResponse]:
    return [reply async for reply in stub.ImportDataset(request)]


async def test_a_folder_is_imported_with_progress_and_checked(stub, tmp_path):
    folder = tmp_path / "allowed/pics"
    write(folder, {"a.png": picture(1), "sub/b.png": picture(2), ".hidden.png": picture(3)})
    replies = await followed(stub, request_for(folder))
    last = replies[-1]
    assert last.dataset.state == v1.DATASET_STATE_READY, last.dataset.error
    assert last.dataset.report.examples == 2
    assert last.dataset.display_name == "pics"
    assert last.dataset.source_uri == folder.as_uri()
    assert last.HasField("usage")
    assert not last.HasField("progress")
    assert all(reply.HasField("progress") and not reply.HasField("usage") for reply in replies[:-1])
    assert not any((tmp_path / "work/imports").rglob("*.png"))


async def test_an_archive_is_imported(stub, tmp_path):
    write(tmp_path / "allowed", {"p.zip": zipped({"a.png": picture(1)})})
    replies = await followed(stub, request_for(tmp_path / "allowed/p.zip"))
    assert replies[-1].dataset.report.examples == 1


async def test_a_caller_that_left_follows_again_by_its_request_id(stub, tmp_path):
    write(tmp_path / "allowed/pics", {f"{n}.png": picture(n) for n in range(20)})
    request = request_for(tmp_path / "allowed/pics", request_id=str(uuid.uuid4()))
    call = stub.ImportDataset(request)
    first = await call.read()
    call.cancel()
    replies = await followed(stub, request)
    assert {reply.dataset.dataset_id for reply in replies} == {first.dataset.dataset_id}
    assert replies[-1].dataset.report.examples == 20
    listed = await stub.ListDatasets(v1.ListDatasetsRequest())
    assert len(listed.datasets) == 1


async def test_an_import_goes_on_when_nobody_follows(stub, tmp_path):
    write(tmp_path / "allowed/pics", {"a.png": picture(1)})
    call = stub.ImportDataset(request_for(tmp_path / "allowed/pics"))
    first = await call.read()
    call.cancel()
    assert (await ended(stub, first.dataset.dataset_id)).state == v1.DATASET_STATE_READY


async def test_a_request_id_with_other_fields_is_refused(stub, tmp_path):
    write(tmp_path / "allowed/pics", {"a.png": picture(1)})
    request = request_for(tmp_path / "allowed/pics", request_id=str(uuid.uuid4()))
    await followed(stub, request)
    request.display_name = "other"
    code, _, _ = await refused(followed(stub, request))
    assert code == grpc.StatusCode.ALREADY_EXISTS


async def test_without_an_id_every_call_imports_anew(stub, tmp_path):
    write(tmp_path / "allowed/pics", {"a.png": picture(1)})
    one, two = [await followed(stub, request_for(tmp_path / "allowed/pics")) for _ in range(2)]
    assert one[-1].dataset.dataset_id != two[-1].dataset.dataset_id


async def test_what_a_process_left_unfinished_the_next_one_finishes(database_url, tmp_path):
    write(tmp_path / "allowed/pics", {f"{n}.png": picture(n, (256, 256)) for n in range(60)})
    async with running(database_url, tmp_path) as (stub, _):
        call = stub.ImportDataset(request_for(tmp_path / "allowed/pics"))
        dataset_id = (await call.read()).dataset.dataset_id
        call.cancel()
    async with running(database_url, tmp_path) as (stub, _):
        dataset = await ended(stub, dataset_id)
    assert dataset.state == v1.DATASET_STATE_READY, dataset.error
    assert dataset.report.examples == 60


async def test_a_folder_that_is_not_there_fails_with_a_sentence(one_stub, tmp_path):
    (tmp_path / "allowed").mkdir()
    replies = await followed(one_stub, request_for(tmp_path / "allowed/none"))
    assert replies[-1].dataset.state == v1.DATASET_STATE_FAILED
    assert "is not there" in replies[-1].dataset.error


async def test_why_an_import_failed_is_told_without_secrets(one_stub, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-8f3a21")
    (tmp_path / "allowed").mkdir()
    replies = await followed(one_stub, request_for(tmp_path / "allowed/canary-8f3a21"))
    assert "allowed/*** is not there" in replies[-1].dataset.error, replies[-1].dataset.error


async def test_an_import_beyond_the_quota_fails_and_frees_its_room(tmp_path):
    write(tmp_path / "allowed/pics", {f"{n}.png": picture(n) for n in range(20)})
    url = f"sqlite:///{tmp_path}/q.db"
    async with running(url, tmp_path, quota_bytes=1000) as (stub, _):
        replies = await followed(stub, request_for(tmp_path / "allowed/pics"))
        assert "do not fit" in replies[-1].dataset.error
        assert (await stub.ListDatasets(v1.ListDatasetsRequest())).used_bytes == 0


async def test_links_that_lead_outside_are_left_alone(one_stub, tmp_path):
    folder = tmp_path / "allowed/pics"
    write(folder, {"a.png": picture(1)})
    write(tmp_path / "secret", {"s.png": picture(2)})
    (folder / "link.png").symlink_to(tmp_path / "secret/s.png")
    (folder / "folder").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe.png")
    replies = await followed(one_stub, request_for(folder))
    assert replies[-1].dataset.report.files == 1


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", Reason.INVALID_FIELD),
        ("pics", Reason.INVALID_FIELD),
        ("ftp://host/x", Reason.INVALID_FIELD),
        ("http://host/x", Reason.INVALID_FIELD),
        ("https://user:secret@host/x", Reason.INVALID_FIELD),
        ("https://host:port/x", Reason.INVALID_FIELD),
        ("https://" + "a" * 2048, Reason.INVALID_FIELD),
        ("\1https://example.com/a.zip", Reason.UNSAFE_PATH),
        ("file:///etc/passwd", Reason.UNSAFE_PATH),
        ("file:///{allowed}/../secret", Reason.UNSAFE_PATH),
        ("file:///{allowed}/%2e%2e/secret", Reason.UNSAFE_PATH),
        ("file:///{allowed}/link", Reason.UNSAFE_PATH),
        ("file://elsewhere/{allowed}", Reason.UNSAFE_PATH),
        ("s3://bucket/key", Reason.UNSAFE_PATH),
        ("gs://bucket/key", Reason.UNSAFE_PATH),
    ],
)
async def test_what_may_not_be_read_is_refused_at_once(one_stub, tmp_path, uri, reason):
    write(tmp_path / "allowed", {"a.png": picture(1)})
    (tmp_path / "allowed/link").symlink_to("/etc")
    uri = uri.replace("{allowed}", str(tmp_path / "allowed").lstrip("/"))
    code, _, field = await refused(followed(one_stub, v1.ImportDatasetRequest(uri=uri)))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "uri")
    if uri:
        with pytest.raises(ServiceError) as caught:
            open_source(uri, Allowed([tmp_path / "allowed"], ["https://"]))
        assert caught.value.reason is reason
    assert not (await one_stub.ListDatasets(v1.ListDatasetsRequest())).datasets


def test_settings_name_no_folder_as_an_address():
    with pytest.raises(SettingsError, match="PEQUOD_IMPORT_FROM"):
        FinetuneSettings(import_from=("file:///data",))


@pytest.mark.parametrize(
    ("uri", "prefix", "good"),
    [
        ("s3://b/k", "s3://b", True),
        ("s3://b/k/x", "s3://b/k", True),
        ("s3://b/key", "s3://b/k", False),
        ("s3://bb/k", "s3://b", False),
        ("gs://b/k", "s3://b", False),
        ("https://host/x", "https://", True),
        ("https://HOST/x", "https://host", True),
        ("https://host.evil/x", "https://host", False),
    ],
)
def test_prefixes_are_of_whole_parts(uri, prefix, good):
    allowed = Allowed([], [prefix])
    if good:
        assert allowed.check(uri).scheme == urlsplit(uri).scheme
        return
    with pytest.raises(ServiceError, match="PEQUOD_IMPORT_FROM"):
        allowed.check(uri)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("ff02::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("fec0::1", False),
        ("3fff::1", False),
        ("2001::1", False),
        ("192.88.99.1", False),
        ("100.100.100.200", False),
    ],
)
def test_addresses_inside_networks_are_not_public(address, public):
    assert is_public(ipaddress.ip_address(address)) is public


class Web:
    """A web server with TLS on loopback, its replies by path, and who trusts it."""

    def __init__(self, folder: Path, replies: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        self.asked: list[str] = []
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                web.asked.append(self.path)
                status, headers, body = replies[self.path]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Nothing on the terminal."""

        certificate = _certificate(folder)
        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(certificate)
        self._server.socket = serving.wrap_socket(self._server.socket, server_side=True)
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self.base = f"https://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def source(self, path: str, public=lambda address: str(address) == "127.0.0.1") -> WebSource:
        allowed = Allowed([], ["https://"])
        uri = f"{self.base}{path}"
        return WebSource(allowed.check(uri), allowed.check, public, self.trust)


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "server.pem"
    file.write_bytes(private + signed.public_bytes(pem))
    return file


@pytest.fixture
def web(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(replies):
            server = Web(tmp_path, replies)
            stack.callback(server.close)
            return server

        yield start


def fetched(source: WebSource, target: Path) -> bytes:
    [file] = source.list()
    source.fetch(file, target, lambda done: None)
    return target.read_bytes()


def test_a_file_is_fetched_over_redirects(web, tmp_path):
    server = web(
        {"/a/p.zip?x=1": (302, {"location": "/b"}, b""), "/b": (200, {"content-length": "4"}, b"data")}
    )
    source = server.source("/a/p.zip?x=1")
    assert source.list()[0].path == "p.zip"
    assert fetched(source, tmp_path / "out") == b"data"
    assert server.asked == ["/a/p.zip?x=1", "/b"]


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({"location": "https://127.0.0.2/x"}, "127.0.0.2, which is no public address"),
        ({"location": "https://[::1]/x"}, "no public address"),
        ({"location": "/loop"}, "leads on and on"),
    ],
)
def test_redirects_are_looked_at_like_the_first_address(web, tmp_path, headers, part):
    server = web({"/loop": (301, headers, b"")})
    with pytest.raises(SourceFailed, match=part.replace("[", "\\[")):
        fetched(server.source("/loop"), tmp_path / "out")


def test_what_comes_too_slowly_is_given_up(web, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "_PATIENCE", -1.0)
    monkeypatch.setattr(importing, "_SLOWEST", 10**12)
    server = web({"/x": (200, {"content-length": "4"}, b"data")})
    with pytest.raises(SourceFailed, match="less than"):
        fetched(server.source("/x"), tmp_path / "out")


def test_a_redirect_to_another_scheme_is_refused(web, tmp_path):
    server = web({"/x": (302, {"location": "file:///etc/passwd"}, b"")})
    with pytest.raises((ServiceError, SourceFailed)):
        fetched(server.source("/x"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_private_address_is_refused_before_anything_is_sent(web, tmp_path):
    server = web({"/x": (200, {}, b"secret")})
    with pytest.raises(SourceFailed, match="no public address"):
        fetched(server.source("/x", public=is_public), tmp_path / "out")
    assert server.asked == []


def test_a_certificate_of_nobody_we_trust_is_refused(web, tmp_path):
    server = web({"/x": (200, {}, b"data")})
    server.trust = ssl.create_default_context()
    with pytest.raises(SourceFailed, match="certificate"):
        fetched(server.source("/x"), tmp_path / "out")


def test_a_broken_connection_and_a_refusal_are_told(web, tmp_path):
    server = web({"/cut": (200, {"content-length": "100"}, b"only this"), "/no": (403, {}, b"")})
    with pytest.raises(SourceFailed, match="broke after 9 bytes"):
        fetched(server.source("/cut"), tmp_path / "out")
    with pytest.raises(SourceFailed, match="403"):
        fetched(server.source("/no"), tmp_path / "out")


async def test_a_web_import_of_a_private_address_fails_with_the_reason(one_stub):
    replies = await followed(one_stub, v1.ImportDatasetRequest(uri="https://127.0.0.1:1/x.zip"))
    assert replies[-1].dataset.state == v1.DATASET_STATE_FAILED
    assert "no public address" in replies[-1].dataset.error
