"""Webhooks: told of each change that is asked for, signed, again until heard, never in private places."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.server
import ipaddress
import json
import socket
import threading
from dataclasses import replace

import pytest
from sqlalchemy import func, select, update

from services.common.database.clock import now
from services.common.metrics import Metrics
from services.finetune.database.schema import DELIVERIES
from services.finetune.jobs.claims import Claims, Report
from services.finetune.jobs.job import JobError, Spec, Webhook
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import State
from services.finetune.webhooks import outbox as outboxes
from services.finetune.webhooks.addresses import Addresses
from services.finetune.webhooks.outbox import Outbox
from services.finetune.webhooks.sending import Sender, sign

SECRET = "a secret of some length"


class Ear:
    """Hears POSTs; answers with the next of ``answers``, then with 204."""

    def __init__(self, answers=()):
        self.heard, self.answers = [], list(answers)
        ear = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                ear.heard.append((dict(self.headers), body))
                self.send_response(ear.answers.pop(0) if ear.answers else 204)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def ear():
    opened = Ear([500, 302])
    yield opened
    opened.close()


def failed_job(database, *hooks):
    """A job that was validated, and failed."""
    records, claims = JobRecords(database), Claims(database, "me")
    job, _ = records.create("local", Spec(recipe="ngram", webhooks=hooks, labels={"team": "a"}))
    claim = claims.unchecked()
    claims.report(claim, Report(state=State.FAILED, error=JobError("DIVERGED", "the loss is nan")))
    return job


def waiting(database) -> int:
    return database.read(lambda c: c.scalar(select(func.count()).select_from(DELIVERIES)))


async def told(sender, database, until) -> None:
    """Run the sender until ``until`` holds; what waits for later is due at once."""
    sender.start()
    async with asyncio.timeout(30):
        while not until():
            await asyncio.to_thread(
                database.write,
                lambda c: c.execute(update(DELIVERIES).where(DELIVERIES.c.attempts > 0).values(due_at=now())),
            )
            await asyncio.sleep(0.05)
    await sender.close()


async def test_a_webhook_is_told_until_it_hears(database, ear):
    hook = Webhook(ear.url, SECRET, (State.FAILED, State.SUCCEEDED))
    deaf = replace(hook, states=(State.QUEUED,))
    job = failed_job(database, hook, deaf)
    assert waiting(database) == 1
    sender = Sender(Outbox(database), Addresses(private=True), Metrics("finetune"))
    await told(sender, database, lambda: not waiting(database))
    # 500, 302, then heard; ``told`` may make one due again that is on its way, and a receiver may hear twice.
    assert len(ear.heard) >= 3
    assert len({body for _, body in ear.heard}) == 1
    headers, body = ear.heard[-1]
    said = json.loads(body)
    assert (said["job_id"], said["state"], said["labels"]) == (job.job_id, "FAILED", {"team": "a"})
    assert said["error"] == {"reason": "DIVERGED", "message": "the loss is nan"}
    assert said["delivery_id"] == headers["pequod-delivery"]
    seconds, signature = (part.split("=")[1] for part in headers["pequod-signature"].split(","))
    wanted = hmac.new(SECRET.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert signature == wanted
    assert SECRET not in body.decode()


def test_a_delivery_is_one_senders_at_a_time_and_then_anothers(database):
    failed_job(database, Webhook("https://example.org/", SECRET, (State.FAILED,)))
    outbox = Outbox(database)
    first = outbox.take()
    assert outbox.take() is None
    assert outbox.waiting() > 50
    late = update(DELIVERIES).values(due_at=now(-1))
    database.write(lambda c: c.execute(late))
    again = outbox.take()
    assert (again.delivery_id, again.attempts) == (first.delivery_id, 1)
    assert outbox.unheard(again)
    assert 1 < outbox.waiting() <= 2 * 2.0 + 0.1
    outbox.heard(again)
    assert waiting(database) == 0


def test_what_is_never_heard_is_given_up(database, monkeypatch):
    failed_job(database, Webhook("https://example.org/", SECRET, (State.FAILED,)))
    outbox = Outbox(database)
    delivery = outbox.take()
    monkeypatch.setattr(outboxes, "PATIENCE", -1.0)
    assert not outbox.unheard(delivery)
    assert waiting(database) == 0


async def test_a_name_that_leads_to_a_private_place_is_not_told(database, ear, caplog, monkeypatch):
    url = ear.url.replace("http://127.0.0.1", "https://example.org")
    there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ear.server.server_port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: there)
    failed_job(database, Webhook(url, SECRET, (State.FAILED,)))
    sender = Sender(Outbox(database), Addresses(private=False), Metrics("finetune"))
    await told(sender, database, lambda: "no public address" in caplog.text)
    assert not ear.heard
    assert waiting(database) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "required"),
        ("ftp://example.org", "must begin with https://"),
        ("\0https://example.org", "holds a space or a character that is none"),
        ("https://exam\tple.org", "holds a space or a character that is none"),
        ("https://example.org/a b", "holds a space or a character that is none"),
        ("http://example.org", "must begin with https://"),
        ("https://", "name a host"),
        ("https://[::1", "is no URL"),
        ("https://user:word@example.org", "user name"),
        ("https://localhost/", "no public address"),
        ("https://localhost./", "no public address"),
        ("https://10.1.2.3/", "no public address"),
        ("https://[::1]/", "no public address"),
        ("https://[::ffff:192.168.0.1]/", "no public address"),
        ("https://169.254.169.254/latest", "no public address"),
        ("https://2130706433/", "no public address"),
        ("https://0x7f.1/", "no public address"),
        ("https://127.1/", "no public address"),
        ("https://[fe80::1%25eth0]/", "no public address"),
        ("https://[fd00:ec2::254]/", "no public address"),
    ],
)
def test_where_webhooks_may_not_lead(url, why):
    assert why in Addresses(private=False).refusal(url)


def test_where_they_may():
    assert Addresses(private=False).refusal("https://example.org:8443/x?y=z") == ""
    near = Addresses(private=True)
    assert near.refusal("http://10.0.0.7/x") == ""
    assert near.is_allowed(ipaddress.ip_address("10.0.0.7"))
    assert not Addresses(private=False).is_allowed(ipaddress.ip_address("10.0.0.7"))


def test_a_signature_is_of_time_and_body():
    assert sign("k", b"{}", 5) != sign("k", b"{}", 6)
    assert sign("k", b"{}", 5) != sign("l", b"{}", 5)
