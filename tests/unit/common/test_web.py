"""Connections to the public web: what a name leads to is looked at, and nobody answers for ever."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import threading
import time

import pytest

from services.common.web import NotPublic, PlainConnection, address_in, connected, ended_within, is_public


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0x7f000001", "017700000001", "localhost", "[::1]", "0"],
)
def test_other_spellings_of_near_addresses_are_refused(host):
    with pytest.raises(NotPublic, match="no public address"):
        connected(host.strip("[]"), 1, 1.0, is_public)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("8.8.8.8", "8.8.8.8"),
    ],
)
def test_an_address_is_known_however_it_is_spelt(host, address):
    assert address_in(host) == ipaddress.ip_address(address)
    assert address_in("example.org") is None
    assert address_in("1.2.3.4.5") is None


@pytest.fixture
def listener():
    """(port, connections): a socket that accepts and keeps them."""
    kept = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(5)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                kept.append(server.accept()[0])

    thread = threading.Thread(target=accept)
    thread.start()
    yield server.getsockname()[1], kept
    server.close()
    thread.join()
    for each in kept:
        each.close()


def test_a_name_that_changes_its_mind_is_asked_once(listener, monkeypatch):
    """What was looked at is what is connected to: the second answer of a name server comes too late."""
    port, _ = listener
    answers = ["127.0.0.1", "10.0.0.1"]
    asked = []

    def resolve(host, *_, **__):
        if host != "rebind.test":  # a literal address, of the connection itself
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    only = ipaddress.ip_address("127.0.0.1")
    with connected("rebind.test", port, 5.0, lambda address: address == only) as raw:
        assert raw.getpeername() == ("127.0.0.1", port)
    assert asked == ["rebind.test"]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(NotPublic, match=r"10\.0\.0\.1"):
        connected("example.org", 443, 1.0, is_public)


def test_whoever_answers_bit_by_bit_is_left(listener):
    port, kept = listener
    connection = PlainConnection("127.0.0.1", port, 5.0, lambda _: True)
    ended = threading.Event()

    def trickle():
        while not kept:
            time.sleep(0.01)
        with contextlib.suppress(OSError):
            while not ended.wait(0.02):
                kept[0].send(b"H")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        connection.request("GET", "/")
        with ended_within(connection, 0.3), pytest.raises((OSError, http.client.HTTPException)):
            connection.getresponse()
    finally:
        ended.set()
        thread.join()
        connection.close()
