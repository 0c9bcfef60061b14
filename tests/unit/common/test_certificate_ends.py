"""When certificates end: the first end of a chain, of what is in force now."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry

from services.common.rpc.certificates import CertificateCollector
from services.common.rpc.tls import ServerTls, TlsSettings
from tests.unit.common.certificates import Authority

CERT, CLIENTS = "PEQUOD_SERVICES_TLS_CERT", "PEQUOD_SERVICES_TLS_CLIENT_CA"


def days(count):
    return datetime.timedelta(days=count)


@pytest.fixture
def authority():
    return Authority(lasting=days(3000))


NINETY = days(90)


def listener(authority, folder, lasting=NINETY, chain=b"", client_ca=None):
    """Settings of one whose files are there."""
    certificate, key = authority.issue(lasting=lasting).write(folder, "server")
    certificate.write_bytes(certificate.read_bytes() + chain)
    return TlsSettings(certificate, key, client_ca)


def registry_of(tls):
    registry = CollectorRegistry()
    registry.register(CertificateCollector([lambda: tls.held("services")]))
    return registry


def left(registry, name=CERT):
    """Days until the end; None where there is no such certificate."""
    end = registry.get_sample_value("pequod_certificate_expires_timestamp_seconds", {"certificate": name})
    return None if end is None else (end - time.time()) / 86400


def test_the_end_is_the_certificates(authority, tmp_path):
    registry = registry_of(ServerTls(listener(authority, tmp_path)))
    assert left(registry) == pytest.approx(90, abs=0.01)
    assert left(registry, CLIENTS) is None


def test_an_intermediate_that_ends_first_is_the_end(authority, tmp_path):
    between = Authority("between", days(20), authority)
    registry = registry_of(ServerTls(listener(between, tmp_path, chain=between.certificate)))
    assert left(registry) == pytest.approx(20, abs=0.01)


def test_a_certificate_that_has_ended_is_told_of_too(authority, tmp_path):
    registry = registry_of(ServerTls(listener(authority, tmp_path, lasting=datetime.timedelta(minutes=-30))))
    assert left(registry) == pytest.approx(-0.5 / 24, abs=0.01)


def test_authorities_of_clients_are_told_apart(authority, tmp_path):
    clients = tmp_path / "clients.crt"
    clients.write_bytes(authority.certificate + Authority("old", days(5)).certificate)
    registry = registry_of(ServerTls(listener(authority, tmp_path, client_ca=clients)))
    assert left(registry) == pytest.approx(90, abs=0.01)
    assert left(registry, CLIENTS) == pytest.approx(5, abs=0.01)


def test_a_new_certificate_counts_without_a_handshake(authority, tmp_path):
    registry = registry_of(ServerTls(listener(authority, tmp_path, lasting=days(2))))
    assert left(registry) == pytest.approx(2, abs=0.01)
    authority.issue(lasting=days(90)).write(tmp_path, "server")
    assert left(registry) == pytest.approx(90, abs=0.01)


def test_one_that_cannot_be_used_leaves_that_of_before(authority, tmp_path):
    settings = listener(authority, tmp_path, lasting=days(2))
    registry = registry_of(ServerTls(settings))
    settings.certificate.write_bytes(authority.issue(lasting=days(90)).certificate)  # of another key
    assert left(registry) == pytest.approx(2, abs=0.01)
    settings.certificate.unlink()
    assert left(registry) == pytest.approx(2, abs=0.01)


def test_what_cannot_be_read_is_a_gap_and_told_once(caplog):
    registry = CollectorRegistry()
    registry.register(CertificateCollector([lambda: {CERT: b"no PEM"}]))
    for _ in range(3):
        assert left(registry) is None
    assert caplog.messages == ["end of a certificate not known"]


def test_without_tls_there_is_a_name_and_nothing_is_imported():
    program = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from services.common.rpc.server import CertificateCollector
registry = CollectorRegistry()
registry.register(CertificateCollector(()))
sys.stdout.write(generate_latest(registry).decode())
assert not any(name.startswith("cryptography") for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "# TYPE pequod_certificate_expires_timestamp_seconds gauge" in done.stdout
    assert "{" not in done.stdout
