"""The client over TLS: encrypted, both sides known, wrong names refused."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from fake_gateway import Server

from pequod.sampler.v1 import add_SamplerServiceServicer_to_server
from pequod_client import TLS, Client, PequodError

x509 = pytest.importorskip("cryptography.x509", reason="needs the package cryptography to make certificates")


def certificate(name):
    """A certificate for ``name`` that vouches for itself, and its key; both PEM."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (
        signed.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, *form),
    )


@pytest.fixture(scope="module")
def identities():
    return {name: certificate(name) for name in ("gateway.test", "caller.test")}


@pytest.fixture
def target(identities):
    servicer = Server()
    (chain, key), (caller, _) = identities["gateway.test"], identities["caller.test"]
    with ThreadPoolExecutor(2) as pool:
        running = grpc.server(pool)
        add_SamplerServiceServicer_to_server(servicer, running)
        credentials = grpc.ssl_server_credentials([(key, chain)], caller, require_client_auth=True)
        port = running.add_secure_port("127.0.0.1:0", credentials)
        running.start()
        yield f"127.0.0.1:{port}"
        running.stop(None).wait()


def caller(identities, **changes):
    chain, key = identities["caller.test"]
    authorities, _ = identities["gateway.test"]
    given = {
        "authorities": authorities,
        "certificate": chain,
        "key": key,
        "server_name": "gateway.test",
        **changes,
    }
    return TLS(**given)


def test_both_sides_are_known(target, identities):
    with Client(target, tls=caller(identities)) as client:
        assert client.text("x") == "xab"


@pytest.mark.parametrize(
    "changes",
    [{"server_name": "other.test"}, {"certificate": None, "key": None}, {"authorities": None}],
    ids=["another name", "no certificate", "an unknown authority"],
)
def test_strangers_are_refused(target, identities, changes):
    with Client(target, tls=caller(identities, **changes)) as client, pytest.raises(PequodError) as caught:
        client.text("x", timeout=20)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
